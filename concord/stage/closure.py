"""The code that a stage runs: the files that its module can load, and a digest of each.

Read from the source without importing anything. Comments, docstrings and layout do not change a digest. Of what is
found by name (`concord.stage.plugins`) only what the parameters name counts: of the package of methods the one method,
of the module of losses the one loss.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from concord.stage.plugins import MODULES, PACKAGES

ROOT = Path(__file__).resolve().parents[2]
Named = Mapping[str, Collection[str]]
"""Place of plugins -> the names that count there; of a place that is absent all count."""
ALL = "*"
"""Stands for every name of a module."""
LISTING = "concord/stage/plugins.py"
"""The file that lists the places, and uses none of them."""


class Source(NamedTuple):
    """What one file says about the files that it can load."""

    tree: ast.Module
    imports: list[tuple[str, tuple[str, ...]]]
    """(module, names imported from it), absolute."""
    places: list[str]
    """The packages of plugins that it looks into."""


def local_imports(
    *module_files: str | Path, root: Path = ROOT, named: Named | None = None
) -> set[Path]:
    """Files (absolute) below `root` that `module_files` import, at any depth and inside functions too, and themselves.

    The `__init__.py` of each package on the way counts. Imports by a name computed at run time are seen only where
    they go through `concord.stage.plugins`.
    """
    files: set[Path] = set()
    waiting = [Path(file).resolve() for file in module_files]
    while waiting:
        file = waiting.pop()
        if file not in files:
            files.add(file)
            waiting.extend(_loaded_by(source_of(file, root), root, named or {}))
    return files


def digests(
    *module_files: str | Path, root: Path = ROOT, named: Named | None = None
) -> dict[str, str]:
    """File of the closure, relative to `root`, -> 16 hexadecimal digits over its syntax tree; sorted by file."""
    found: dict[str, str] = {}
    files = sorted(local_imports(*module_files, root=root, named=named))
    for file in files:
        path = file.relative_to(root) if file.is_relative_to(root) else Path(file.name)
        module, tree = ".".join(path.with_suffix("").parts), source_of(file, root).tree
        if module in MODULES and module in (named or {}):
            imported = set(_imported_from(module, files, root))
            if ALL not in imported:
                tree = _only(tree, {*(named or {})[module], *imported})
        if not [node for node in tree.body if not _stands_alone(node)]:
            continue  # a package's docstring
        found[path.as_posix()] = hashlib.sha256(json.dumps(_plain(tree)).encode()).hexdigest()[:16]
    return found


def source_of(file: Path, root: Path = ROOT) -> Source:
    """The parsed file; parsed once as long as it is not written again."""
    return _parsed(file, root, file.stat().st_mtime_ns, file.stat().st_size)


@cache
def _parsed(file: Path, root: Path, _time: int, _size: int) -> Source:
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    imports: list[tuple[str, tuple[str, ...]]] = []
    places: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports.extend((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imports.append((_absolute(node, file, root), tuple(alias.name for alias in node.names)))
        elif isinstance(node, ast.Constant) and node.value in PACKAGES and file != root / LISTING:
            places.append(str(node.value))
    return Source(tree, imports, places)


def _absolute(node: ast.ImportFrom, file: Path, root: Path) -> str:
    if not node.level:
        return node.module or ""
    package = file.relative_to(root).parts[:-1]
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def _loaded_by(source: Source, root: Path, named: Named) -> Iterator[Path]:
    for module, names in source.imports:
        yield from _files(module, root)
        for name in names:
            yield from _files(f"{module}.{name}", root)
    for place in source.places:
        folder = root.joinpath(*place.split("."))
        for name in named.get(place, sorted(path.stem for path in folder.glob("*.py"))):
            yield from _files(f"{place}.{name}", root)


def _files(module: str, root: Path) -> Iterator[Path]:
    """The file of `module`, if it is below `root`, and the `__init__.py` files above it."""
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        init = root.joinpath(*parts[:depth]) / "__init__.py"
        if init.is_file():
            yield init
    file = root.joinpath(*parts).with_suffix(".py")
    if file.is_file():
        yield file


def _imported_from(module: str, files: Collection[Path], root: Path) -> Iterator[str]:
    """The names that `files` import from `module`; `ALL` where they import the module itself."""
    package, _, stem = module.rpartition(".")
    for file in files:
        for imported, names in source_of(file, root).imports:
            if imported == module:
                yield from names or [ALL]
            elif imported == package and stem in names:
                yield ALL


def _only(tree: ast.Module, wanted: Collection[str]) -> ast.Module:
    """The module without the functions that neither `wanted` nor anything that is kept mentions."""
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    others = [node for node in tree.body if not isinstance(node, ast.FunctionDef)]
    kept: set[str] = set()
    waiting = {name for name in wanted if name in functions} | _mentioned(others, functions)
    while waiting:
        name = waiting.pop()
        kept.add(name)
        waiting |= _mentioned([functions[name]], functions) - kept
    dropped = [functions[name] for name in functions.keys() - kept]
    return ast.Module([node for node in tree.body if node not in dropped], [])


def _mentioned(nodes: Collection[ast.AST], functions: Collection[str]) -> set[str]:
    return {
        inner.id
        for node in nodes
        for inner in ast.walk(node)
        if isinstance(inner, ast.Name) and inner.id in functions
    }


def _plain(node: Any) -> Any:
    """A syntax tree as lists and strings: the same for every version of Python, without strings that stand alone."""
    if isinstance(node, ast.AST):
        fields = ((name, _plain(value)) for name, value in ast.iter_fields(node))
        return [
            type(node).__name__,
            *([name, value] for name, value in fields if value not in (None, [])),
        ]
    if isinstance(node, list):
        return [_plain(item) for item in node if not _stands_alone(item)]
    return None if node is None else repr(node)


def _stands_alone(node: Any) -> bool:
    """Whether a statement is a string and nothing else: a docstring."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
