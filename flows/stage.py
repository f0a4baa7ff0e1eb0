"""One stage in processes of its own: `dvc repro --single-item <stage>` under a guard that ends the whole tree."""

import fcntl
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from concord.stage.errors import ConcordError
from flows import guard
from flows.devices import Slot
from flows.graph import Stage, dvc, environment

Happened = Literal["ran", "restored", "unchanged"]
LAST_LINES = 20
HINTS = re.compile(
    r"(Updating|Generating) lock file|To (track|enable) |\t(git add|dvc config) |Use `dvc push` "
)
KILLED = re.compile(
    r"exited with (-\d+|1(29|[3-8]\d|9[01]))\b"
)  # a signal: negative, or 128 and more where a shell tells of it


class StageError(ConcordError):
    """A stage's process ended with an error, was killed, or ran out of time."""

    def __init__(self, message: str, killed: bool) -> None:
        super().__init__(message)
        self.killed = killed
        """Whether a signal ended it: memory or a preempted machine, which a second try may survive."""


@dataclass(frozen=True)
class Outcome:
    """What became of a stage."""

    stage: Stage
    happened: Happened
    seconds: float


@contextmanager
def alone(log: Callable[[str], None]) -> Iterator[int]:
    """Waits until no other run works in this folder, and keeps it; yields the lock's descriptor.

    DVC's own lock keeps two processes from one file at a time, but gives up where both want the same stage.
    """
    path = Path(".dvc/tmp/align.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log("another run works in this folder; waiting for its end")
            fcntl.flock(file, fcntl.LOCK_EX)
        if remove_torn_lock(path.with_name("rwlock")):
            log("removed .dvc/tmp/rwlock: a DVC that was killed had not finished writing it")
        yield file.fileno()


def remove_torn_lock(path: Path) -> bool:
    """Removes DVC's list of readers and writers at `path` if a kill left it half written, for then DVC only fails."""
    if _is_whole(path):
        return False
    from dvc.lock import make_lock  # type: ignore[import-untyped]

    with make_lock(
        str(path.with_name("rwlock.lock")), tmp_dir=str(path.parent)
    ):  # so nobody is writing it now
        torn = not _is_whole(path)
        if torn:
            path.unlink()
    return torn


def _is_whole(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True
    except ValueError:
        return False
    return True


@dataclass
class Processes:
    """The stages that run at the moment, so that they can be ended together."""

    folder: int
    """Descriptor of the lock on the project's folder; a guard keeps it until its stage is over."""
    running: set[subprocess.Popen[bytes]] = field(default_factory=set)
    ended: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def start(
        self, command: list[str], env: dict[str, str], slot: Slot | None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """`command` under the guard, with its output on one pipe; over when the block is left, in whatever way."""
        guarded = [sys.executable, str(Path(guard.__file__)), *command]
        with self.lock:
            if self.ended:
                raise StageError("not started, because the run is being ended", killed=False)
            process = subprocess.Popen(
                guarded, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                start_new_session=True, pass_fds=[self.folder, *([] if slot is None else [slot.descriptor])],
            )  # fmt: skip
            self.running.add(process)
        try:
            yield process
        finally:
            _close(process)
            process.wait()
            with self.lock:
                self.running.discard(process)
            assert process.stdout is not None
            process.stdout.close()

    def end(self) -> None:
        """Ends every running stage and starts no more."""
        with self.lock:
            self.ended = True
            for process in self.running:
                _close(process)


def run(
    stage: Stage,
    processes: Processes,
    line: Callable[[str], None],
    progress: Callable[[Path], None],
    slot: Slot | None = None,
) -> Outcome:
    """Brings one stage up to date. Each line of its output goes to `line`; `progress` looks at the file that the stage
    reports to, about once a second. Raises StageError."""
    began, last = time.monotonic(), [""] * LAST_LINES
    with tempfile.TemporaryDirectory() as folder:
        reports = Path(folder) / "progress"
        env = environment() | {
            "CONCORD_PROGRESS": str(reports),
            "TQDM_DISABLE": "1",
            "PYTHONUNBUFFERED": "1",
        }
        if slot is not None:
            env["CUDA_VISIBLE_DEVICES"] = slot.device.id
        with processes.start(dvc("repro", "--single-item", stage.name), env, slot) as process:
            happened: Happened = "unchanged"
            for text in _lines(process, began + stage.meta.timeout, stage):
                progress(reports)
                if text is None or HINTS.match(text):
                    continue
                line(text)
                last = [*last[1:], text]
                happened = _happened(text) or happened
            code = process.wait()
    if code:
        _fail(stage, code, [text for text in last if text], processes.ended)
    return Outcome(stage, happened, time.monotonic() - began)


def _lines(process: subprocess.Popen[bytes], deadline: float, stage: Stage) -> Iterator[str | None]:
    """Lines of the process's output as they come; None after each second without any."""
    assert process.stdout is not None
    pipe, rest = process.stdout.fileno(), b""
    while True:
        if time.monotonic() > deadline:
            raise StageError(
                f"{stage.name} was ended after its timeout of {stage.meta.timeout:g} s; "
                f"raise `timeout` in the stage's meta in dvc.yaml, or give it less to do",
                killed=False,
            )
        if not select.select([pipe], [], [], 1.0)[0]:
            yield None
            continue
        chunk = os.read(pipe, 65536)
        *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n") if chunk else (rest, b"")
        yield from (
            text for text in (part.decode("utf-8", "replace").rstrip() for part in lines) if text
        )
        if not chunk:
            return


def _happened(text: str) -> Happened | None:
    if text.startswith("Running stage "):
        return "ran"
    if text.startswith("Stage ") and " is cached - skipping run" in text:
        return "restored"
    return None


def _fail(stage: Stage, code: int, last: list[str], ended: bool) -> None:
    if ended:
        raise StageError(f"{stage.name} was ended with the run", killed=False)
    words = "\n".join(f"    {text}" for text in last)
    raise StageError(
        f"{stage.name} failed (exit status {code}); its last lines were\n{words}\n"
        f"mend the cause and run again: finished stages are kept",
        killed=128 < code < 192 or any(KILLED.search(text) for text in last),
    )


def _close(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
