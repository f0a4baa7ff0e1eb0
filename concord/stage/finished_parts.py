"""Finished parts of a stage, kept until the stage has ended, so that a killed stage resumes.

A part is the result of one batch, such as sampled answers, or of a larger step that has parts of
its own. Each part is a file in the stage's folder below `work/` (`concord.stage.resume`), so parts
are valid only for the same parameters, inputs and code. Parts are numbered in the order in which
the stage computes them. A file starts with the hash of its content and of what was requested: a
damaged file, or one for another request, is computed again.

Random numbers must not depend on what was computed before in the process. Those of
`concord.lm.sample` depend on the seed and the prompt alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from concord.stage import outputs, resume
from concord.stage.paths import WORK

T = TypeVar("T")
Keep = Callable[[str, Any, Callable[[], Any]], Any]
"""Keeps results: `part`, or another function with its arguments."""
ARRAY = "numpy array"
"""Key of the dtype of an array in a file; the other keys are `shape` and `bytes`."""


class FinishedParts:
    """The finished parts in a folder, which need not exist."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._next = folder, 0

    def part(self, label: str, request: Any, make: Callable[[], T]) -> T:
        """The result of the next part: from its file, or else from `make`; see `part`."""
        name = f"{self._next:06d}-{label}"
        file, within = self._folder / f"{name}.part", FinishedParts(self._folder / name)
        requested = encoded(request)
        content = _content(file, requested)
        if content is None:
            content = self._made(within, make)
            _write(file, requested, content)
            shutil.rmtree(within._folder, ignore_errors=True)
        self._next += 1
        return cast(T, restored(content))

    @staticmethod
    def _made(within: FinishedParts, make: Callable[[], T]) -> bytes:
        """The encoded result of `make`, whose own parts are kept in `within`."""
        token = _active.set(within)
        try:
            return encoded(make())
        finally:
            _active.reset(token)


_active: ContextVar[FinishedParts | None] = ContextVar("finished_parts", default=None)


@contextmanager
def kept(
    stage: str, params: Any, inputs: Iterable[Path], module_file: str | Path, work: Path = WORK
) -> Iterator[None]:
    """Keeps every `part` of the block in the folder `concord.stage.resume.folder` of the stage.

    The folder is deleted if the block ends well, so the block must write the outputs. The arguments
    are those of `resume.folder`; inputs that do not exist, because the recipe does not need them,
    are left out.
    """
    present = [path for path in inputs if path.exists()]
    in_order = json.dumps(params, default=resume.plain)  # names in another order: other numbers
    folder = resume.folder(stage, in_order, present, module_file, work)
    if count := len(list(folder.rglob("*.part"))):
        print(f"resuming with {count} finished parts in {folder}")
    token = _active.set(FinishedParts(folder))
    try:
        yield
    finally:
        _active.reset(token)
    shutil.rmtree(folder, ignore_errors=True)


def part(label: str, request: Any, make: Callable[[], T]) -> T:
    """The result of `make`; from its file, if an earlier run of this stage finished it.

    Outside of `kept`, this only calls `make`. Parts that `make` computes in turn are kept too,
    until `make` has ended.

    Args:
        label: the kind of part, for the file name.
        request: what determines the result within this stage, apart from the models. Its type is
            that of a result.
        make: returns numbers, text, None, NumPy arrays, and lists or dicts of these. A tuple would
            be a list when it is read back.
    """
    active = _active.get()
    return make() if active is None else active.part(label, request, make)


def _content(file: Path, requested: bytes) -> bytes | None:
    """The content of a part; None if it is missing, damaged, or for another request."""
    try:
        checksum, _, content = file.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    if checksum == _checksum(requested, content):
        return content
    print(f"{file} is damaged, or for another request; it is computed again")
    return None


def _write(file: Path, requested: bytes, content: bytes) -> None:
    with outputs.file(file) as partial:
        partial.write_bytes(_checksum(requested, content) + b"\n" + content)


def _checksum(requested: bytes, content: bytes) -> bytes:
    return hashlib.sha256(requested + b"\n" + content).hexdigest().encode()


def encoded(value: Any) -> bytes:
    """A result as bytes; its types are those that `part` accepts."""
    return json.dumps(value, default=_plain).encode()


def _plain(value: Any) -> Any:
    """An array or NumPy scalar as JSON, with exactly its bits."""
    if isinstance(value, np.generic):
        return value.item()
    if not isinstance(value, np.ndarray) or value.dtype.hasobject:
        raise TypeError(f"{type(value).__name__} cannot be kept as a part; see `part`")
    content = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
    return {ARRAY: value.dtype.str, "shape": list(value.shape), "bytes": content}


def restored(content: bytes) -> Any:
    """The result from the bytes that `encoded` made of it."""
    return json.loads(content, object_hook=_restored)


def _restored(entry: dict[str, Any]) -> Any:
    if ARRAY not in entry:
        return entry
    content = np.frombuffer(base64.b64decode(entry["bytes"]), np.dtype(entry[ARRAY]))
    return content.reshape(entry["shape"]).copy()
