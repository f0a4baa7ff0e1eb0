"""Functions of the user, which params.yaml names as `module:function`.

The module is a file in the root of the project, or an installed package.
"""

import importlib
import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from concord.stage.errors import ConcordError, DataError, ParamsError
from concord.stage.params import suggest


class Role(NamedTuple):
    """What a function is for, and how it is called."""

    name: str
    """Such as `verifier`."""
    arguments: tuple[Any, ...]
    """Arguments that the function must take."""
    described: str
    """What the arguments are called in messages."""
    signature: str
    """Arguments and result of a definition, as in Python."""


def find(name: str, role: Role) -> Callable[..., Any]:
    """The function `module:function`.

    Raises ParamsError if it does not exist or does not take the arguments of its role.
    """
    module, _, function = name.partition(":")
    try:
        loaded = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise ParamsError(
            f"{name!r}: importing {module or 'it'} fails ({type(error).__name__}: {error}); "
            "put the module into the root of the project and check that it can be imported there"
        ) from error
    named = getattr(loaded, function, None)
    if not callable(named):
        defined = [key for key, value in vars(loaded).items() if inspect.isfunction(value)]
        raise ParamsError(
            f"{name!r}: {module} has no function {function!r}; {suggest(function, defined)}"
        )
    try:
        inspect.signature(named).bind(*role.arguments)
    except (TypeError, ValueError):
        raise ParamsError(
            f"{name!r} cannot be called with {role.described}, so it is not a {role.name}; "
            f"define it as {function}{role.signature}"
        ) from None
    return named  # type: ignore[no-any-return]


def call(function: Callable[..., Any], name: str, role: Role, given: str, *arguments: Any) -> Any:
    """The result of a function of the user.

    Raises DataError if it raises an error, with the line that did, and `given`: its arguments, in
    words.
    """
    try:
        return function(*arguments)
    except ConcordError:
        raise
    except Exception as error:
        *_, line = traceback.extract_tb(error.__traceback__)[:2]  # this function, then the user's
        raise DataError(
            f"the {role.name} {name} raised {type(error).__name__} ({error}) in line "
            f"{line.lineno} of {Path(line.filename).name}, on {given}; fix the function"
        ) from error
