"""The files of the functions of the user that params.yaml names as `module:function`.

They are custom verifiers, and judges of the kind `function`. They are not part of the package, so
they are deps of the stage `check` of their own (`concord.stage.stage_graph`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from concord.stage.closure import files_of, local_imports


def functions_in(params: Mapping[str, Any]) -> dict[str, str]:
    """Path of a key of params.yaml -> the function `module:function` that it names.

    Values of a wrong type are left out; `check` reports them.
    """
    functions = {}
    for name, entry in _entries(params, "objectives"):
        functions[f"objectives.{name}.verifier"] = entry.get("verifier")
    for section in ("process_labels.judges", "evaluate.judge.judges"):
        for name, entry in _entries(params, *section.split(".")):
            functions[f"{section}.{name}.function"] = entry.get("function")
    return {key: name for key, name in functions.items() if isinstance(name, str) and ":" in name}


def files_of_function(name: str, root: Path) -> list[str]:
    """The files of the module of `module:function` that are below `root`, as absolute paths."""
    return [str(file) for file in files_of(name.partition(":")[0], root.resolve())]


def code_of_function(name: str, root: Path) -> list[str]:
    """These files and what they import, as far as it is below `root`; sorted, relative to `root`.

    A file that is no valid Python counts, but not what it imports.
    """
    base, files = root.resolve(), files_of_function(name, root)
    try:
        code = {*map(str, local_imports(*files, root=base))}
    except SyntaxError:  # reported by `check`, which imports the module
        code = set(files)
    return sorted(Path(file).relative_to(base).as_posix() for file in code)


def _entries(content: Any, *keys: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The entries of a nested section that are mappings."""
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    for name, entry in content.items() if isinstance(content, Mapping) else ():
        if isinstance(entry, Mapping):
            yield str(name), entry
