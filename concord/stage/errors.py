"""Errors that a user can cause and fix, as opposed to bugs.

ConcordError
|- ParamsError  invalid params.yaml: unknown key, value out of range, reference to an unknown name
|- DataError    invalid source or table: missing, empty, not UTF-8, wrong format, too many bad rows
|- ModelError   invalid checkpoint: missing, or its weights do not match the architecture
|- DiskError    no space left, or no permission to write
|- DeviceMemoryError  the memory of the device is too small
'- UnreachableError  a server on the network does not answer; a later attempt may succeed

A message says what was given, why it cannot work, and what to do.
"""

import errno
import inspect
import os
import shutil
import sys
from collections.abc import Callable

from concord.stage.parent import end_with_dvc

LITTLE = 2**20
"""Bytes. A disk with less free space is full."""
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


class DiskError(ConcordError):
    """The disk is full, or cannot be written."""


class DeviceMemoryError(ConcordError):
    """The memory of the device is too small for the work."""


class UnreachableError(ConcordError):
    """A server on the network does not answer, or answers that it is busy."""


def command(main: Callable[..., None]) -> None:
    """Calls `main` of a stage with the command-line arguments.

    A `ConcordError` exits with its message and no traceback. The status is `TEMPORARY` for an
    `UnreachableError`, and otherwise 1. With `--help`, or with a wrong number of arguments, the
    docstring of the module is printed. A stage that DVC started ends with
    DVC (`concord.stage.parent`).
    """
    arguments = sys.argv[1:]
    help_requested = bool({"-h", "--help"}.intersection(arguments))
    if help_requested or len(arguments) != len(inspect.signature(main).parameters):
        print(inspect.getdoc(inspect.getmodule(main)))
        sys.exit(0 if help_requested else 2)
    end_with_dvc()
    try:
        main(*arguments)
    except UnreachableError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(TEMPORARY)
    except ConcordError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except Exception as error:
        if (problem := _problem(error)) is None:
            raise
        sys.exit(problem)


def _problem(error: Exception) -> str | None:
    """What a user can do about an error of a library; None if it is a bug.

    Libraries turn the system's errors into others of their own, so the free space counts too.
    """
    number, folder = getattr(error, "errno", None), os.getcwd()
    if type(error).__name__ == "OutOfMemoryError":  # torch's; this module does not import torch
        return f"DeviceMemoryError: {error}\nUse smaller batches or a smaller model."
    if number in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"DiskError: {error}; make it writable for this user, and run again"
    if number in (errno.ENOSPC, errno.EDQUOT) or shutil.disk_usage(folder).free < LITTLE:
        return f"DiskError: the disk of {folder} is full ({error}); free some space, and run again"
    return None
