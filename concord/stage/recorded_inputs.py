"""Refuses the outputs of a stage whose parameters or deps were edited while it ran.

DVC reads the parameters and hashes the deps of a stage after its command has ended. After an edit
in between, dvc.lock and the run cache would record the new values with outputs of the old ones.
Only the stage can notice. It fails, and DVC records nothing of a stage that fails.
"""

from __future__ import annotations

import hashlib
import os
import reprlib
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from concord.stage.errors import ChangedInputError, ConcordError
from concord.stage.params import read
from concord.stage.stage_graph import ABSENT, GRAPH, declared, value_at

PARAMS = Path("params.yaml")
SECONDS = 30.0
"""Between two looks for edits, while a stage runs."""
SMALL = 65_536
"""Bytes. The content of files up to this size is compared, and the time of larger ones."""
NAMED = 3
"""Changes that a message names."""
IGNORED = {".gitignore", "__pycache__", ".git", ".hg", ".dvc"}
"""Names of files and folders that DVC does not hash, by .dvcignore and by itself."""


class Version(NamedTuple):
    """What a file is recognised by."""

    size: int
    modified: int
    """Nanoseconds."""
    digest: bytes | None
    """Of a small file."""


@contextmanager
def unchanged_inputs() -> Iterator[None]:
    """Raises ChangedInputError if inputs of the stage were edited in the block.

    An edit is also printed within `SECONDS`, because it can still be undone. Without DVC, which
    sets DVC_STAGE, and in a folder without dvc.yaml, nothing is recorded and nothing is compared.
    """
    stage = os.environ.get("DVC_STAGE")
    if stage is None or not GRAPH.is_file():
        yield
        return
    inputs, ended = RecordedInputs(stage), threading.Event()
    threading.Thread(target=_warn, args=(inputs, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
    inputs.require_unchanged()


class RecordedInputs:
    """The parameters and deps that dvc.yaml declares for a stage, as they are now."""

    def __init__(self, stage: str) -> None:
        """`stage` is DVC's name of it, such as `policy@mah_dpo`."""
        self._root = Path.cwd()
        params = self._params()
        self._keys, self._deps = declared(stage, read(GRAPH), params)
        self._values = {key: value_at(params, key) for key in self._keys}
        self._versions = {file: version_of(file) for file in self._files()}

    def changes(self) -> list[str]:
        """What has changed since, such as `rollouts.samples (4 -> 3)` or the path of a file."""
        params = self._params() if self._keys else {}
        changes = [
            f"{path} ({_shown(old)} -> {_shown(new)})"
            for key, value in self._values.items()
            for path, old, new in differences(key, value, value_at(params, key))
        ]
        files = self._files()
        changed = {file for file in files if not _is(file, self._versions.get(file))}
        changed |= self._versions.keys() - files
        return changes + sorted(str(file.relative_to(self._root)) for file in changed)

    def require_unchanged(self) -> None:
        """Raises ChangedInputError, with the first changes, if there are any."""
        if changes := self.changes():
            raise ChangedInputError(
                f"{_sentence(changes)} while this stage ran. DVC would record the new version with "
                "outputs of the old one, so nothing was recorded; run again"
            )

    def _params(self) -> dict[str, Any]:
        file = self._root / PARAMS
        return read(file) if file.is_file() else {}

    def _files(self) -> set[Path]:
        return {file for dep in self._deps for file in files_in(self._root / dep)}


def files_in(path: Path) -> Iterator[Path]:
    """The files that DVC hashes for a dep: the file itself, or those in the folder."""
    if path.is_file():
        yield path
    for folder, names, files in os.walk(path, followlinks=True):
        names[:] = [name for name in names if name not in IGNORED]
        yield from (Path(folder, file) for file in files if file not in IGNORED)


def version_of(file: Path) -> Version | None:
    """What a file is recognised by; None if it does not exist."""
    try:
        status = file.stat()
        small = status.st_size <= SMALL
        digest = hashlib.blake2b(file.read_bytes()).digest() if small else None
    except FileNotFoundError:
        return None
    return Version(status.st_size, status.st_mtime_ns, digest)


def _is(file: Path, old: Version | None) -> bool:
    """Whether a file is the same as before. A small file is read only if its time is another."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return old is None
    if old is None or (status.st_size, status.st_mtime_ns) == (old.size, old.modified):
        return old is not None
    new = version_of(file)
    return old.digest is not None and new is not None and new.digest == old.digest


def differences(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """(path of the key, old value, new value) of each value that differs.

    Examples:
        >>> list(differences("sft", {"steps": 4, "seed": 1}, {"steps": 5, "seed": 1}))
        [('sft.steps', 4, 5)]
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in {**old, **new}:
            yield from differences(f"{path}.{key}", old.get(key, ABSENT), new.get(key, ABSENT))
    elif old != new or type(old) is not type(new):
        yield path, old, new


def _shown(value: Any) -> str:
    return "absent" if value is ABSENT else reprlib.repr(value)


def _sentence(changes: list[str]) -> str:
    """The first changes in words, and the number of the others."""
    named = ", ".join(changes[:NAMED])
    more = f" and {len(changes) - NAMED} more" if len(changes) > NAMED else ""
    return f"{named}{more} {'was' if len(changes) == 1 else 'were'} edited"


def _warn(inputs: RecordedInputs, ended: threading.Event) -> None:
    """Prints an edit once, until the stage ends."""
    while not ended.wait(SECONDS):
        try:
            changes = inputs.changes()
        except (ConcordError, OSError):  # a file that is being written
            continue
        if changes:
            print(
                f"warning: {_sentence(changes)} while this stage runs; undo it before the stage "
                "ends, or nothing will be recorded",
                file=sys.stderr,
                flush=True,
            )
            return
