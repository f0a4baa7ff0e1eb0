"""Errors that a user can cause and fix, as opposed to bugs.

ConcordError
|- ParamsError  invalid params.yaml: unknown key, value out of range, reference to an unknown name
|- DataError    invalid source or table: missing, empty, not UTF-8, wrong format, too many bad rows
|- ModelError   invalid checkpoint: missing, or its weights do not match the architecture
|- DiskError    no space left, or no permission to write
|- DeviceMemoryError  the memory of the device is too small
|- ChangedInputError  what DVC records of a running stage was edited
'- UnreachableError  a server on the network does not answer; a later attempt may succeed

A message says what was given, why it cannot work, and what to do.
"""


class ConcordError(Exception):
    """Base class of all errors that a user can cause and fix."""


class ParamsError(ConcordError):
    """params.yaml is invalid. The message starts with the path of the key."""


class DataError(ConcordError):
    """A source file, row or table is invalid."""


class ModelError(ConcordError):
    """A checkpoint or tokenizer is invalid."""


class DiskError(ConcordError):
    """The disk is full, or cannot be written."""


class DeviceMemoryError(ConcordError):
    """The memory of the device is too small for the work."""


class ChangedInputError(ConcordError):
    """Parameters or deps of a stage were edited while it ran."""


class UnreachableError(ConcordError):
    """A server on the network does not answer, or answers that it is busy."""
