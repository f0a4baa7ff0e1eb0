"""Errors that a user can cause and fix, as opposed to bugs.

ConcordError
|- ParamsError  invalid params.yaml: unknown key, value out of range, reference to an unknown name
|- DataError    invalid source or table: missing, empty, not UTF-8, wrong format, too many bad rows
|- ModelError   invalid checkpoint: missing, or its weights do not match the architecture
|- DeviceMemoryError  the memory of the device is too small
'- UnreachableError  a server on the network does not answer; a later attempt may succeed

A message says what was given, why it cannot work, and what to do.
"""

import inspect
import sys
from collections.abc import Callable

TEMPORARY = 75
"""Exit status of a stage whose failure can pass by itself (EX_TEMPFAIL of sysexits.h). The flow
waits and runs the stage again."""


class ConcordError(Exception):
    """Base class of all errors that a user can cause and fix."""


class ParamsError(ConcordError):
    """params.yaml is invalid. The message starts with the path of the key."""


class DataError(ConcordError):
    """A source file, row or table is invalid."""


class ModelError(ConcordError):
    """A checkpoint or tokenizer is invalid."""


class DeviceMemoryError(ConcordError):
    """The memory of the device is too small for the work."""


class UnreachableError(ConcordError):
    """A server on the network does not answer, or answers that it is busy."""


def command(main: Callable[..., None]) -> None:
    """Calls `main` of a stage with the command-line arguments.

    A `ConcordError` exits with its message and no traceback. The status is `TEMPORARY` for an
    `UnreachableError`, and otherwise 1. With `--help`, or with a wrong number of arguments, the
    docstring of the module is printed.
    """
    arguments = sys.argv[1:]
    help_requested = bool({"-h", "--help"}.intersection(arguments))
    if help_requested or len(arguments) != len(inspect.signature(main).parameters):
        print(inspect.getdoc(inspect.getmodule(main)))
        sys.exit(0 if help_requested else 2)
    try:
        main(*arguments)
    except UnreachableError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(TEMPORARY)
    except ConcordError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's; this module does not import torch
            raise
        sys.exit(f"{DeviceMemoryError.__name__}: {error}\nUse smaller batches or a smaller model.")
