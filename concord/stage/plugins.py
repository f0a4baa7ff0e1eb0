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
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from concord.stage.errors import ParamsError
from concord.stage.params import suggest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES: dict[str, tuple[str, ...]] = {
    "concord.annotations.formats": ("annotations", "read"),
    "concord.rewards.verifiers": ("verify",),
    "concord.rewards.process.labellers": ("label",),
    "concord.rewards.process.judges": ("load",),
    "concord.policies.methods": ("run",),
}
"""Plugin package -> entry functions. A module that defines one of them is a plugin."""
MODULES = (
    "concord.policies.losses",
    "concord.policies.advantages",
    "concord.rewards.vector.scalarisers",
)
"""Plugin modules. Each public function is a plugin."""


def names(location: str) -> list[str]:
    """The sorted plugin names of `location`, a key of `PACKAGES` or an item of `MODULES`."""
    if location in PACKAGES:
        folder, entries = ROOT.joinpath(*location.split(".")), PACKAGES[location]
        return sorted(
            path.stem for path in folder.glob("*.py") if _functions(path).keys() & set(entries)
        )
    return sorted(name for name in _functions(_path(location)) if not name.startswith("_"))


def load(package: str, name: Any, where: str = "") -> ModuleType:
    """Imports the plugin module `name` of `package`. Raises ParamsError if it does not exist.

    `where` is the path of the key in params.yaml, used in the message.
    """
    check_name(package, name, where)
    return importlib.import_module(f"{package}.{name}")


def function(module: str, name: Any, where: str = "") -> Callable[..., Any]:
    """The plugin function `name` of `module`. Raises ParamsError if it does not exist.

    `where` is the path of the key in params.yaml, used in the message.
    """
    check_name(module, name, where)
    plugin: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return plugin


def check_name(location: str, name: Any, where: str = "") -> None:
    """Raises ParamsError, prefixed with `where`, if `location` has no plugin `name`."""
    known = names(location)
    if name not in known:
        prefix = f"{where}: " if where else ""
        raise ParamsError(f"{prefix}{name!r} is unknown; {suggest(str(name), known)}")


def defaults(module: str, name: str) -> dict[str, Any]:
    """Argument -> default value, for the arguments of the plugin function `name` that have one."""
    arguments = _functions(_path(module))[name].args
    given = arguments.args[len(arguments.args) - len(arguments.defaults) :]
    pairs = zip(given, arguments.defaults, strict=True)
    return {argument.arg: ast.literal_eval(value) for argument, value in pairs}


def _path(module: str) -> Path:
    return ROOT.joinpath(*module.split(".")).with_suffix(".py")


def _functions(file: Path) -> dict[str, ast.FunctionDef]:
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
