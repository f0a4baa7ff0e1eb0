"""Where a stage keeps its training checkpoints: `work/<stage>/<hash>`, outside of DVC's outs, ignored by git.

The hash covers the stage's params, the bytes of its inputs and its code (`concord.stage.closure`), so a checkpoint is
found again after a kill and never after an edit that could change the result.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from concord.stage.closure import digests
from concord.stage.errors import DataError
from concord.stage.paths import WORK

COMPLETE = "complete"
"""This file is written last: without it a checkpoint is one whose writer was killed."""


def folder(
    stage: str,
    params: Any,
    inputs: Iterable[str | Path],
    module_file: str | Path,
    work: Path = WORK,
) -> Path:
    """The checkpoint folder of `stage` (relative to the working directory); it is not created.

    Args:
        params: what the stage was given: dataclasses, mappings, lists, paths, numbers, strings.
        inputs: files or folders that the stage reads.
        module_file: the stage's `__file__`.

    Raises: TypeError for params of another type, whose text could be equal where their values are not.
    """
    digest = hashlib.sha256(json.dumps(params, sort_keys=True, default=_plain).encode())
    for path in map(Path, inputs):
        for file in _files(path):
            digest.update(f"{path.name}/{file.relative_to(path)}:{_file_hash(file)}\n".encode())
    digest.update(json.dumps(digests(module_file)).encode())
    return work / stage / digest.hexdigest()[:16]


def mark_complete(work: Path, step: int) -> None:
    """Marks the checkpoint of `step` as wholly written."""
    (work / f"checkpoint-{step}" / COMPLETE).touch()


def newest(work: Path) -> Path | None:
    """The newest complete checkpoint in `work`; None if there is none."""
    found = [path.parent for path in work.glob(f"checkpoint-*/{COMPLETE}")]
    return max(found, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """The step at which a checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Path):
        return value.as_posix()
    raise TypeError(
        f"{value!r} cannot be part of the key of a checkpoint: give numbers, strings or dataclasses"
    )


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(
            f"The input {path} is not there. Run the stage that makes it (`dvc repro`)."
        )
    return sorted(file for file in path.rglob("*") if file.is_file())


def _file_hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()
