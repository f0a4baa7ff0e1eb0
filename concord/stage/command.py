"""Starts a stage from the command line, and says in one sentence what a user can do if it fails."""

import errno
import inspect
import os
import shutil
import sys
from collections.abc import Callable

from concord.stage.errors import ConcordError, UnreachableError
from concord.stage.parent import end_with_dvc
from concord.stage.recorded_inputs import unchanged_inputs

LITTLE = 2**20
"""Bytes. A disk with less free space is full."""
TEMPORARY = 75
"""Exit status of a stage whose failure can pass by itself (EX_TEMPFAIL of sysexits.h). The flow
waits and runs the stage again."""


def command(main: Callable[..., None]) -> None:
    """Calls `main` of a stage with the command-line arguments.

    A `ConcordError` exits with its message and no traceback. The status is `TEMPORARY` for an
    `UnreachableError`, and otherwise 1. With `--help`, or with a wrong number of arguments, the
    docstring of the module is printed. A stage that DVC started ends with DVC
    (`concord.stage.parent`), and fails if its inputs were edited meanwhile
    (`concord.stage.recorded_inputs`).
    """
    arguments = sys.argv[1:]
    help_requested = bool({"-h", "--help"}.intersection(arguments))
    if help_requested or len(arguments) != len(inspect.signature(main).parameters):
        print(inspect.getdoc(inspect.getmodule(main)))
        sys.exit(0 if help_requested else 2)
    end_with_dvc()
    try:
        with unchanged_inputs():
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
