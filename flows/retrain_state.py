"""What scheduled runs remember, in `runs/`: what was tried, which run is unfinished, the history.

    runs/retrain-state.json       inputs that were tried, and the run that has not ended
    runs/retrain-history.jsonl    a line per run: date, outcome, inputs, version, reason, seconds
    runs/retrain.lock             held by the run that works

Files are replaced as a whole, so a killed run leaves the old or the new one.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from concord.stage.errors import ConcordError
from flows.inputs import Input

STATE = Path("runs/retrain-state.json")
HISTORY = Path("runs/retrain-history.jsonl")
LOCK = Path("runs/retrain.lock")
SECONDS_TO_WAIT = 15.0
"""How long a run waits for the lock: the stages of a killed run hold it until they have ended."""

Result = Literal["accepted", "refused", "idle", "skipped", "failed"]


class StateError(ConcordError):
    """The state is not what a run wrote."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    outcome: Result
    reason: str
    inputs: tuple[str, ...] = ()
    """What was new, in words."""
    version: str | None = None
    """The version that was published."""


@dataclass
class State:
    """What runs of the project at `root` remember."""

    root: Path
    tried: dict[str, dict[str, str]] = field(default_factory=dict)
    """Key of an input -> how the run with it ended, when and why. Only inputs that will not be
    tried again are here."""
    current: dict[str, Any] | None = None
    """The run that has not ended: what it started from, and its inputs."""
    files: dict[str, list[Any]] = field(default_factory=dict)
    """Path of a watched file -> its size, time and hash."""

    @classmethod
    def load(cls, root: Path) -> State:
        """The state of the last run; empty before the first. Raises StateError."""
        path = root / STATE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(root, content["tried"], content["current"], content["files"])
        except FileNotFoundError:
            return cls(root)
        except (ValueError, KeyError, TypeError) as error:
            raise StateError(
                f"{path} is not what a retraining run wrote ({error}). Delete it: inputs that were "
                "refused are then tried once more"
            ) from None

    def save(self) -> None:
        """Replaces the file."""
        content = {"tried": self.tried, "current": self.current, "files": self.files}
        _replace(self.root / STATE, json.dumps(content, indent=1, sort_keys=True) + "\n")

    def remember(self, inputs: Iterable[Input], outcome: str, reason: str) -> None:
        """Notes that inputs were tried; they are not new any more."""
        for one in inputs:
            entry = {"outcome": outcome, "date": now(), "reason": reason, "what": str(one)}
            self.tried[one.key] = entry


def add_to_history(root: Path, outcome: Outcome, began: float) -> None:
    """Appends a line. `began` is the time of the start, in seconds since 1970."""
    line = {"date": now(), **asdict(outcome), "seconds": round(time.time() - began, 1)}
    path = root / HISTORY
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_bytes() if path.is_file() else b""
    with path.open("ab") as file:
        if before and not before.endswith(b"\n"):  # a line that a killed run left incomplete
            file.write(b"\n")
        file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")


def now() -> str:
    """The time in UTC, to the second.

    Examples:
        >>> len(now())
        20
    """
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def lock(root: Path, wait: float = SECONDS_TO_WAIT) -> Iterator[int | None]:
    """Yields the descriptor of the lock, or None if another run holds it for longer than `wait`.

    The kernel frees the lock when its holder has ended, however it ended.
    """
    path = root / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait
    with path.open("a+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    yield None
                    return
                time.sleep(0.2)
            else:
                break
        yield file.fileno()


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
