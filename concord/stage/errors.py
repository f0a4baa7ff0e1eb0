"""The errors a user can cause, as opposed to bugs.

ConcordError
|- ParamsError  params.yaml is wrong: an unknown key, a value out of range, a name that refers to nothing
|- DataError    a source or a table is wrong: missing, empty, not UTF-8, of another format, too many bad rows
'- ModelError   a checkpoint is wrong: missing, or its weights do not fit the architecture

A message says what was given, why it cannot work, and what to do.
"""

import inspect
import sys
from collections.abc import Callable


class ConcordError(Exception):
    """Base of every error that a user can cause and mend."""


class ParamsError(ConcordError):
    """Something in params.yaml cannot work; the message starts with the path of the key."""


class DataError(ConcordError):
    """A source file, a row or a table cannot be used."""


class ModelError(ConcordError):
    """A checkpoint or tokenizer cannot be used."""


def command(main: Callable[..., None]) -> None:
    """Runs `main` of a stage on the command line's arguments; the user's errors end it without a traceback.

    Asked for help, or given another number of arguments than `main` takes, it prints the docstring of the module.
    """
    given, asked = sys.argv[1:], {"-h", "--help"}.intersection(sys.argv[1:])
    if asked or len(given) != len(inspect.signature(main).parameters):
        print(inspect.getdoc(inspect.getmodule(main)))
        sys.exit(0 if asked else 2)
    try:
        main(*given)
    except ConcordError as error:
        sys.exit(f"{type(error).__name__}: {error}")
