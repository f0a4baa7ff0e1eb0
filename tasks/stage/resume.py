"""Where a stage keeps its training checkpoints: `work/<stage>/<hash>`, outside of DVC's outs, ignored by git.

The hash is over the stage's params, the bytes of its inputs and its code (the local import closure), so a checkpoint is
found again after a kill and never after an edit.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tasks.stage.closure import ROOT, local_imports
from tasks.stage.errors import DataError


def folder(stage: str, params: Any, inputs: Iterable[str | Path], module_file: str | Path, work: str = "work") -> Path:
    """The checkpoint folder of `stage` (relative to the working directory); it is not created.

    Args:
        params: what the stage was given: dataclasses, mappings, lists, numbers, strings.
        inputs: files or folders that the stage reads.
        module_file: the stage's `__file__`.
    """
    digest = hashlib.sha256(json.dumps(params, sort_keys=True, default=_plain).encode())
    for path in map(Path, inputs):
        for file in _files(path):
            digest.update(f"{path.name}/{file.relative_to(path)}:{_file_hash(file)}\n".encode())
    for file in sorted(local_imports(module_file)):
        name = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file.name
        digest.update(f"{name}:{_file_hash(file)}\n".encode())
    return Path(work) / stage / digest.hexdigest()[:16]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"The input {path} is not there. Run the stage that makes it (`dvc repro`).")
    return sorted(file for file in path.rglob("*") if file.is_file())


def _file_hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()
