"""The code of a stage: the files that its module can import, with a digest of each.

The source is parsed; nothing is imported. Comments, docstrings and formatting do not change a
digest. Of the plugins (`concord.stage.plugins`) only those named in the parameters count: one
module of the package of methods, one function of the module of losses.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from concord.stage.plugins import MODULES, PACKAGES

ROOT = Path(__file__).resolve().parents[2]
PluginNames = Mapping[str, Collection[str]]
"""Plugin package or module -> the names that count. All names count where the key is missing."""
ALL = "*"
"""Stands for every name of a module."""
PLUGIN_REGISTRY = "concord/stage/plugins.py"
"""The file that lists the locations of plugins but loads none of them."""


class Source(NamedTuple):
    """A parsed file and what it can import."""

    tree: ast.Module
    imports: list[tuple[str, tuple[str, ...]]]
    """(absolute module name, names imported from it), including imports for types alone."""
    files: list[Path]
    """The files below the root that its imports load at run time."""
    plugin_locations: list[str]
    """The plugin packages and modules from which it loads by name."""
    has_code: bool
    """Whether it contains anything but a docstring."""
    digest: str
    """The digest of the whole file."""


def local_imports(
    *module_files: str | Path, root: Path = ROOT, named: PluginNames | None = None
) -> set[Path]:
    """Absolute paths of `module_files` and of all files below `root` that they import.

    Indirect imports, imports inside functions and the `__init__.py` of every parent package are
    included. Imports by a name that is computed at run time are included only if they go through
    `concord.stage.plugins`.
    """
    files: set[Path] = set()
    waiting = [path for file in module_files for path in _with_packages(Path(file).resolve(), root)]
    while waiting:
        file = waiting.pop()
        if file not in files:
            files.add(file)
            waiting.extend(_imported_files(source_of(file, root), root, named or {}))
    return files


def digests(
    *module_files: str | Path, root: Path = ROOT, named: PluginNames | None = None
) -> dict[str, str]:
    """Path relative to `root` -> digest of its syntax tree (16 hexadecimal digits), sorted by path.

    Covers all files that `local_imports` returns, except packages without code.
    """
    digest_by_path: dict[str, str] = {}
    files = sorted(local_imports(*module_files, root=root, named=named))
    for file in files:
        path = _relative(file, root)
        source, module = source_of(file, root), ".".join(path.with_suffix("").parts)
        if not source.has_code:
            continue
        digest = source.digest
        if module in MODULES and module in (named or {}):
            imported = set(_imported_from(module, files, root))
            if ALL not in imported:
                used = {*(named or {})[module], *imported}
                digest = _digest(_without_unused_functions(source.tree, used))
        digest_by_path[path.as_posix()] = digest
    return digest_by_path


def _relative(file: Path, root: Path) -> Path:
    """The path relative to `root`, or else to the working directory, where custom verifiers are."""
    bases = (root, Path.cwd(), file.parent)
    return next(file.relative_to(base) for base in bases if file.is_relative_to(base))


def source_of(file: Path, root: Path = ROOT) -> Source:
    """The parsed file. It is parsed again only after it has been modified."""
    return _parsed(file, root, file.stat().st_mtime_ns, file.stat().st_size)


@cache
def _parsed(file: Path, root: Path, _time: int, _size: int) -> Source:
    tree = ast.parse(file.read_bytes(), filename=str(file))
    nodes = list(ast.walk(tree))
    plugin_locations = [
        str(node.value)
        for node in nodes
        if isinstance(node, ast.Constant)
        and (node.value in PACKAGES or node.value in MODULES)
        and file != root / PLUGIN_REGISTRY
    ]
    has_code = any(not _is_docstring(node) for node in tree.body)
    imports = list(_imports(nodes, file, root))
    type_checking = [node for node in nodes if isinstance(node, ast.If) and _for_types(node)]
    never_run = {
        inner for node in type_checking for child in node.body for inner in ast.walk(child)
    }
    run_time = _imports([node for node in nodes if node not in never_run], file, root)
    modules = [name for module, names in run_time for name in (module, *_members(module, names))]
    files = [path for module in dict.fromkeys(modules) for path in files_of(module, root)]
    return Source(tree, imports, files, plugin_locations, has_code, _digest(tree))


def _imports(
    nodes: Iterable[ast.AST], file: Path, root: Path
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield _absolute(node, file, root), tuple(alias.name for alias in node.names)


def _for_types(node: ast.If) -> bool:
    """Whether a statement is `if TYPE_CHECKING:`, whose imports never run."""
    return ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _members(module: str, names: Collection[str]) -> list[str]:
    """What `names` are called if they are modules of the package `module`."""
    return [f"{module}.{name}" for name in names]


def _digest(tree: ast.Module) -> str:
    return hashlib.sha256(json.dumps(_serializable(tree)).encode()).hexdigest()[:16]


def _absolute(node: ast.ImportFrom, file: Path, root: Path) -> str:
    if not node.level:
        return node.module or ""
    package = file.relative_to(root).parts[:-1]
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def _imported_files(source: Source, root: Path, named: PluginNames) -> Iterator[Path]:
    yield from source.files
    for location in source.plugin_locations:
        if location in MODULES:
            if named.get(location, [ALL]):
                yield from files_of(location, root)
            continue
        folder = root.joinpath(*location.split("."))
        for name in named.get(location, sorted(path.stem for path in folder.glob("*.py"))):
            yield from files_of(f"{location}.{name}", root)


def _with_packages(file: Path, root: Path) -> Iterator[Path]:
    """A file, and the `__init__.py` files of the packages that contain it."""
    yield file
    if file.is_relative_to(root):
        yield from files_of(".".join(file.relative_to(root).with_suffix("").parts), root)


def files_of(module: str, root: Path = ROOT) -> Iterator[Path]:
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
    """The names that `files` import from `module`; `ALL` if a file imports the whole module."""
    package, _, stem = module.rpartition(".")
    for file in files:
        for imported, names in source_of(file, root).imports:
            if imported == module:
                yield from names or [ALL]
            elif imported == package and stem in names:
                yield ALL


def _without_unused_functions(tree: ast.Module, wanted: Collection[str]) -> ast.Module:
    """The module without the functions that neither `wanted` nor the remaining code uses."""
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    others = [node for node in tree.body if not isinstance(node, ast.FunctionDef)]
    kept: set[str] = set()
    waiting = {name for name in wanted if name in functions} | _used_functions(others, functions)
    while waiting:
        name = waiting.pop()
        kept.add(name)
        waiting |= _used_functions([functions[name]], functions) - kept
    dropped = [functions[name] for name in functions.keys() - kept]
    return ast.Module([node for node in tree.body if node not in dropped], [])


def _used_functions(nodes: Collection[ast.AST], functions: Collection[str]) -> set[str]:
    return {
        inner.id
        for node in nodes
        for inner in ast.walk(node)
        if isinstance(inner, ast.Name) and inner.id in functions
    }


def _serializable(node: Any) -> Any:
    """The syntax tree as lists and strings, without docstrings and empty parts of f-strings."""
    if isinstance(node, ast.JoinedStr):  # Python versions differ in the empty parts
        node = ast.JoinedStr([part for part in node.values if getattr(part, "value", None) != ""])
    if isinstance(node, ast.AST):
        fields = ((name, _serializable(value)) for name, value in ast.iter_fields(node))
        return [
            type(node).__name__,
            *([name, value] for name, value in fields if value not in (None, [])),
        ]
    if isinstance(node, list):
        return [_serializable(item) for item in node if not _is_docstring(item)]
    return None if node is None else repr(node)


def _is_docstring(node: Any) -> bool:
    """Whether a statement is a string literal on its own."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
