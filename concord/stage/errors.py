"""Errors that a user can cause and fix, as opposed to bugs.

ConcordError
|- ParamsError  invalid params.yaml: unknown key, value out of range, reference to an unknown name
|- DataError    invalid source or table: missing, empty, not UTF-8, wrong format, too many bad rows
|- ModelError   invalid checkpoint: missing, or its weights do not match the architecture
'- DiskError    no space left, or no permission to write

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


def command(main: Callable[..., None]) -> None:
    """Calls `main` of a stage with the command-line arguments.

    A `ConcordError` exits with its message and no traceback. With `--help`, or with a wrong number
    of arguments, the docstring of the module is printed. A stage that DVC started ends with DVC
    (`concord.stage.parent`).
    """
    arguments = sys.argv[1:]
    help_requested = bool({"-h", "--help"}.intersection(arguments))
    if help_requested or len(arguments) != len(inspect.signature(main).parameters):
        print(inspect.getdoc(inspect.getmodule(main)))
        sys.exit(0 if help_requested else 2)
    end_with_dvc()
    try:
        main(*arguments)
    except ConcordError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except Exception as error:
        if (problem := _disk_problem(error)) is None:
            raise
        sys.exit(f"DiskError: {problem}")


def _disk_problem(error: Exception) -> str | None:
    """What is wrong with the disk, if that is why a stage failed.

    Libraries turn the system's error into others of their own, so the free space counts too.
    """
    number, folder = getattr(error, "errno", None), os.getcwd()
    if number in (errno.EROFS, errno.EACCES, errno.EPERM):
        return f"{error}; make it writable for this user, and run again"
    if number in (errno.ENOSPC, errno.EDQUOT) or shutil.disk_usage(folder).free < LITTLE:
        return f"the disk of {folder} is full ({error}); free some space, and run again"
    return None
