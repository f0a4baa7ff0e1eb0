"""Results that earlier runs of a stage computed, kept by what decides them in a SQLite file.

In contrast to `concord.stage.finished_parts`, they outlive the stage: if its inputs grow, only what
is new is computed. The key of a result is a hash of the settings, which are the same for all
results of a file, and of the request. So nothing is ever found for another model, another version
of a library, or other code.

SQLite keeps the file whole in a kill or a power cut. Every result has a hash of its own, because a
disk can lose a bit; a damaged result, or a damaged file, is computed again.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

from concord.stage.finished_parts import encoded, restored

T = TypeVar("T")
KEY, HASH = 16, 32
"""Bytes of a key, and of the hash in front of a result."""
SECONDS_UNWRITTEN = 2.0
"""Results that were computed within this time may be lost in a kill."""


class KeptResults:
    """The results in a file, which is created if it does not exist. A context manager.

    At the end of the block, results that it did not ask for are deleted, unless it failed.

    Args:
        file: the SQLite file.
        settings: all that decides the results, apart from the requests.
    """

    def __init__(self, file: Path, settings: str) -> None:
        self._file, self._settings = file, settings.encode()
        self._used: set[bytes] = set()
        self._written = time.monotonic()
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._base, self._kept = _opened(file)
        except sqlite3.DatabaseError:
            print(f"{file} is damaged; what it kept is computed again")
            for part in (file, file.with_name(f"{file.name}-journal")):
                part.unlink(missing_ok=True)
            self._base, self._kept = _opened(file)

    def __enter__(self) -> KeptResults:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        if kind is None and (unused := self._kept - self._used):
            self._base.executemany("DELETE FROM results WHERE key = ?", [(one,) for one in unused])
        self._base.commit()
        self._base.close()

    def part(self, label: str, request: Any, make: Callable[[], T]) -> T:
        """The result for the request: kept, or else from `make`.

        The arguments are those of `concord.stage.finished_parts.part`.
        """
        asked = json.dumps(label).encode() + encoded(request)
        key = hashlib.blake2b(self._settings + b"\n" + asked, digest_size=KEY).digest()
        self._used.add(key)
        content = self._content(key) if key in self._kept else None
        if content is None:
            content = encoded(make())
            row = key, hashlib.sha256(content).digest() + content
            self._base.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", row)
            self._kept.add(key)
            if time.monotonic() - self._written > SECONDS_UNWRITTEN:
                self._base.commit()
                self._written = time.monotonic()
        return cast(T, restored(content))

    def _content(self, key: bytes) -> bytes | None:
        """The encoded result; None if it is damaged."""
        try:
            rows = self._base.execute("SELECT content FROM results WHERE key = ?", (key,))
            stored = bytes(rows.fetchone()[0])
        except (sqlite3.DatabaseError, TypeError):
            stored = b""
        if hashlib.sha256(stored[HASH:]).digest() == stored[:HASH]:
            return stored[HASH:]
        print(f"a result in {self._file} is damaged; it is computed again")
        return None


def _opened(file: Path) -> tuple[sqlite3.Connection, set[bytes]]:
    """The open file, and the keys of its results."""
    base = sqlite3.connect(file)
    try:
        base.execute("CREATE TABLE IF NOT EXISTS results (key BLOB PRIMARY KEY, content BLOB)")
        return base, {bytes(key) for (key,) in base.execute("SELECT key FROM results")}
    except sqlite3.DatabaseError:
        base.close()
        raise
