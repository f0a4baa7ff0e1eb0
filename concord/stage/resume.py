"""Folders for unfinished work: `work/<stage>/<hash>`, ignored by git and DVC.

They hold checkpoints of training, or finished parts (`concord.stage.finished_parts`). The hash
covers the stage's parameters, the bytes of its inputs and its code (`concord.stage.closure`). A
killed stage therefore finds its work again. After an edit that could change the result, it starts
from the beginning.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from concord.stage import outputs
from concord.stage.closure import digests
from concord.stage.errors import DataError
from concord.stage.paths import CODE, WORK

COMPLETE = "complete"
"""Marker file, written last, with the sizes of the other files as JSON. A checkpoint without it, or
with a file of another size, is incomplete and ignored."""


def folder(
    stage: str,
    params: Any,
    inputs: Iterable[str | Path],
    module_file: str | Path,
    work: Path = WORK,
) -> Path:
    """The folder for the unfinished work of `stage`; it is not created here.

    The path is relative to the working directory.

    Args:
        stage: DVC's name of the stage, such as `sft` or `policy@mah_dpo`.
        params: the stage's parameters: dataclasses, mappings, lists, paths, numbers, strings.
        inputs: files or folders that the stage reads.
        module_file: `__file__` of the stage.

    Raises:
        DataError: an input does not exist.
        TypeError: `params` contains a value of another type, which could not be hashed reliably.
    """
    digest = hashlib.sha256(json.dumps(params, sort_keys=True, default=plain).encode())
    for path in map(Path, inputs):
        for file in _files(path):
            digest.update(f"{path.name}/{file.relative_to(path)}:{_file_hash(file)}\n".encode())
    digest.update(json.dumps(digests(module_file)).encode())
    if (listing := CODE / stage).is_file():  # it also covers custom verifiers
        digest.update(listing.read_bytes())
    return work / stage / digest.hexdigest()[:16]


def mark_complete(work: Path, step: int) -> None:
    """Marks the checkpoint of `step` as complete, once its files are on the disk.

    A rename or a small file can reach the disk before the content of large files. After a power
    cut, the marker alone would vouch for a checkpoint of which a part is missing.
    """
    checkpoint = work / f"checkpoint-{step}"
    for file in _files(checkpoint):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    with outputs.file(checkpoint / COMPLETE) as partial, partial.open("w") as stream:
        json.dump(_sizes(checkpoint), stream)
        stream.flush()
        os.fsync(stream.fileno())


def newest(work: Path) -> Path | None:
    """The newest complete checkpoint in `work`, or None."""
    checkpoints = [path.parent for path in work.glob(f"checkpoint-*/{COMPLETE}")]
    return max(filter(_is_complete, checkpoints), key=step_of, default=None)


def _is_complete(checkpoint: Path) -> bool:
    try:
        expected = json.loads((checkpoint / COMPLETE).read_bytes())
    except ValueError:
        return False
    return bool(expected.items() <= _sizes(checkpoint).items())


def _sizes(checkpoint: Path) -> dict[str, int]:
    """File of a checkpoint -> its size in bytes, without the marker."""
    files = (file for file in _files(checkpoint) if not file.name.startswith((COMPLETE, ".")))
    return {file.relative_to(checkpoint).as_posix(): file.stat().st_size for file in files}


def step_of(checkpoint: Path) -> int:
    """The training step of a checkpoint.

    Examples:
        >>> step_of(Path("work/sft/0123456789abcdef/checkpoint-120"))
        120
    """
    return int(checkpoint.name.rpartition("-")[2])


def plain(value: Any) -> Any:
    """A dataclass or path as JSON, for hashing. Raises TypeError for other values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Path):
        return value.as_posix()
    raise TypeError(
        f"{value!r} cannot be hashed for the checkpoint folder; "
        "pass numbers, strings, paths, lists, mappings or dataclasses"
    )


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path} does not exist; run the stage that writes it (`dvc repro`)")
    return sorted(file for file in path.rglob("*") if file.is_file())


def _file_hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()
