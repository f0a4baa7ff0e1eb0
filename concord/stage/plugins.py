"""Modules and functions that are found by name, so that adding one touches no other file.

Two kinds of place hold them: a package in which every module that defines an entry function is one
(`concord/policies/methods/<name>.py` defines `run`), and a module in which every public function is one
(`concord/policies/losses.py`). Names are read from the source, so listing them imports nothing.

A caller writes the place as a literal, `plugins.load("concord.policies.methods", name)`: that is how
`concord.stage.closure` sees which plugins a stage can run.
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
"""Package -> its entry functions; a module that defines one of them can be named in params.yaml."""
MODULES = (
    "concord.policies.losses",
    "concord.policies.advantages",
    "concord.rewards.vector.scalarisers",
)
"""Modules whose public functions can be named in params.yaml."""


def names(place: str) -> list[str]:
    """What can be named in `place`, one of `PACKAGES` or `MODULES`, sorted."""
    if place in PACKAGES:
        folder, entries = ROOT.joinpath(*place.split(".")), PACKAGES[place]
        return sorted(
            path.stem for path in folder.glob("*.py") if _functions(path).keys() & set(entries)
        )
    return sorted(name for name in _functions(_path(place)) if not name.startswith("_"))


def load(package: str, name: Any, where: str = "") -> ModuleType:
    """The module `name` of `package`. Raises ParamsError, headed by `where`, if there is none."""
    check_name(package, name, where)
    return importlib.import_module(f"{package}.{name}")


def function(module: str, name: Any, where: str = "") -> Callable[..., Any]:
    """The public function `name` of `module`. Raises ParamsError, headed by `where`, if there is none."""
    check_name(module, name, where)
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def check_name(place: str, name: Any, where: str = "") -> None:
    """Raises ParamsError, headed by `where`, if `place` has no `name`."""
    known = names(place)
    if name not in known:
        head = f"{where}: " if where else ""
        raise ParamsError(f"{head}{name!r} is unknown; {suggest(str(name), known)}")


def defaults(module: str, name: str) -> dict[str, Any]:
    """The arguments of the function `name` of `module` that have a default, and the defaults."""
    arguments = _functions(_path(module))[name].args
    given = arguments.args[len(arguments.args) - len(arguments.defaults) :]
    pairs = zip(given, arguments.defaults, strict=True)
    return {argument.arg: ast.literal_eval(value) for argument, value in pairs}


def _path(module: str) -> Path:
    return ROOT.joinpath(*module.split(".")).with_suffix(".py")


def _functions(file: Path) -> dict[str, ast.FunctionDef]:
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
