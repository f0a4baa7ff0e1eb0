"""The local import closure of a module: every file of this project that running it can load.

Read from the source without importing anything, so that dvc.yaml's deps can be checked and checkpoints keyed by code.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("tasks", "flows")


def local_imports(module_file: str | Path, root: Path = ROOT) -> set[Path]:
    """Files (absolute) that `module_file` imports from the project, at any depth and inside functions too, and itself.

    The `__init__.py` of each package on the way counts. Imports by a name computed at run time are not seen.
    """
    found: set[Path] = set()
    waiting = [Path(module_file).resolve()]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting.extend(_imported_by(file, root))
    return found


def _imported_by(file: Path, root: Path) -> Iterator[Path]:
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(alias.name, root)
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(node, file, root)
            yield from _files(module, root)
            for alias in node.names:
                yield from _files(f"{module}.{alias.name}", root)


def _absolute(node: ast.ImportFrom, file: Path, root: Path) -> str:
    if not node.level:
        return node.module or ""
    package = file.relative_to(root).parts[:-1]
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def _files(module: str, root: Path) -> Iterator[Path]:
    """The file of `module`, if it is one of the project's, and the `__init__.py` files above it."""
    parts = module.split(".")
    if parts[0] not in PACKAGES:
        return
    for depth in range(1, len(parts) + 1):
        init = root.joinpath(*parts[:depth]) / "__init__.py"
        if init.is_file():
            yield init
    file = root.joinpath(*parts).with_suffix(".py")
    if file.is_file():
        yield file
