"""Errors that a user can cause and fix, as opposed to bugs.

ConcordError
|- ParamsError  invalid params.yaml: unknown key, value out of range, reference to an unknown name
|- DataError    invalid source or table: missing, empty, not UTF-8, wrong format, too many bad rows
'- ModelError   invalid checkpoint: missing, or its weights do not match the architecture

A message says what was given, why it cannot work, and what to do.
"""

import inspect
import sys
from collections.abc import Callable

from concord.stage.parent import end_with_dvc


class ConcordError(Exception):
    """Base class of all errors that a user can cause and fix."""


class ParamsError(ConcordError):
    """params.yaml is invalid. The message starts with the path of the key."""


class DataError(ConcordError):
    """A source file, row or table is invalid."""


class ModelError(ConcordError):
    """A checkpoint or tokenizer is invalid."""


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
