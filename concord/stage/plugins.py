"""Plugins: modules and functions that params.yaml selects by name.

There are two kinds. In a plugin package, every module that defines an entry function is a plugin
(`concord/policies/methods/<name>.py` defines `run`). In a plugin module, every public function is
one (`concord/policies/losses.py`). To add a plugin, add the file or the function; nothing else
changes. Names are read from the source, so listing them imports nothing.

Callers must pass the package as a literal, as in `plugins.load("concord.policies.methods", name)`.
`concord.stage.closure` finds the plugins of a stage through these literals.
"""

import ast
import importlib
from collections.abc import Callable, Collection
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pydantic import AfterValidator

from concord.stage.errors import ParamsError
from concord.stage.params import suggest

ROOT = Path(__file__).resolve().parents[2]


class Contract(NamedTuple):
    """What a plugin package requires of its modules."""

    entries: tuple[str, ...]
    """A module that defines one of these functions is a plugin."""
    required: tuple[str, ...] = ()
    """What every plugin must define as well."""
    reserved: tuple[str, ...] = ()
    """Names with a meaning of their own in params.yaml. No module may have them."""


PACKAGES: dict[str, Contract] = {
    "concord.annotations.formats": Contract(("annotations", "read"), ("Options",), ("hub",)),
    "concord.rewards.verifiers": Contract(("verify",)),
    "concord.rewards.process.labellers": Contract(("label",), ("NEEDS",), ("human",)),
    "concord.rewards.process.judges": Contract(("load",), ("PARAMS", "missing")),
    "concord.policies.methods": Contract(("run",), ("METHOD",)),
}
"""The plugin packages."""
MODULES = (
    "concord.policies.losses",
    "concord.policies.advantages",
    "concord.rewards.vector.scalarisers",
)
"""Plugin modules. Each public function is a plugin."""


def names(location: str, entries: Collection[str] | None = None) -> list[str]:
    """The sorted plugin names of `location`, a key of `PACKAGES` or an item of `MODULES`.

    Args:
        entries: for a package, only the modules that define one of these functions.

    Raises:
        ParamsError: a module has a reserved name, or a plugin module cannot be parsed. A module of
            a package that cannot be parsed is listed; `load` explains what is wrong with it.
    """
    if location not in PACKAGES:
        return sorted(name for name in _functions(_path(location)) if not name.startswith("_"))
    folder, contract = ROOT.joinpath(*location.split(".")), PACKAGES[location]
    wanted = set(contract.entries if entries is None else entries)
    plugin_names = sorted(path.stem for path in folder.glob("*.py") if _may_define(path, wanted))
    for name in contract.reserved:
        if name in plugin_names:
            raise ParamsError(
                f"{_relative(folder / f'{name}.py')}: {name!r} has a meaning of its own in "
                "params.yaml; rename the file"
            )
    return plugin_names


def load(package: str, name: Any, where: str) -> ModuleType:
    """Imports the plugin module `name` of `package`.

    `where` is the path of the key in params.yaml, used in messages.

    Raises:
        ParamsError: the plugin does not exist, cannot be parsed, or lacks a required definition.
    """
    if name not in (known := names(package)):
        raise ParamsError(f"{where}: {name!r} is unknown; {suggest(str(name), known)}")
    file = ROOT.joinpath(*package.split(".")) / f"{name}.py"
    _functions(file)
    module = importlib.import_module(f"{package}.{name}")
    for attribute in PACKAGES[package].required:
        if not hasattr(module, attribute):
            raise ParamsError(f"{where}: {_relative(file)} does not define `{attribute}`; add it")
    return module


def function(module: str, name: str) -> Callable[..., Any]:
    """The plugin function `name` of `module`, which must exist."""
    plugin: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return plugin


def named(location: str, *also: str) -> AfterValidator:
    """A validator of the names of plugins, as in `Annotated[str, plugins.named("...")]`.

    Accepts the names of `also` as well.
    """
    return AfterValidator(partial(check_name, location, also=also))


def check_name(location: str, name: Any, also: Collection[str] = ()) -> str:
    """Returns `name`. Raises ValueError if it is neither a plugin of `location` nor in `also`."""
    known = [*names(location), *also]
    if name not in known:
        raise ValueError(f"unknown name; {suggest(str(name), known)}")
    return str(name)


def defaults(module: str, name: str) -> dict[str, str]:
    """Argument -> source of its default, for the arguments of a plugin function that have one."""
    arguments = _functions(_path(module))[name].args
    given = [*arguments.posonlyargs, *arguments.args]
    given = given[len(given) - len(arguments.defaults) :]
    pairs = [
        *zip(given, arguments.defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    return {argument.arg: ast.unparse(value) for argument, value in pairs if value is not None}


def _path(module: str) -> Path:
    return ROOT.joinpath(*module.split(".")).with_suffix(".py")


def _relative(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def _may_define(file: Path, functions: Collection[str]) -> bool:
    """Whether a file defines one of `functions`. True for a file that cannot be parsed."""
    try:
        return not _functions(file).keys().isdisjoint(functions)
    except ParamsError:
        return True


def _functions(file: Path) -> dict[str, ast.FunctionDef]:
    """The functions of a module by name. Raises ParamsError if it cannot be parsed."""
    return _parsed(file, file.read_bytes())


@cache
def _parsed(file: Path, source: bytes) -> dict[str, ast.FunctionDef]:
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise ParamsError(
            f"{_relative(file)}, line {error.lineno}: {error.msg}; fix the file"
        ) from None
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
