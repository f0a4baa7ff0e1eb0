"""Runs one stage: `dvc repro --single-item <stage>` under `flows.guard`, in separate processes."""

import fcntl
import itertools
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

from concord.release.rwlock import remove_incomplete_lock
from concord.stage.command import TEMPORARY
from concord.stage.errors import ConcordError
from flows import guard
from flows.devices import Slot
from flows.graph import Stage, dvc, environment

Status = Literal["ran", "restored", "unchanged"]
LAST_LINES = 20
HINTS = re.compile(
    r"(Updating|Generating) lock file|To (track|enable) |\t(git add|dvc config) |Use `dvc push` "
)
KILLED = re.compile(r"exited with (-\d+|1(29|[3-8]\d|9[01]))\b")
"""Exit status after a signal: negative, or 128 + signal if a shell reports it."""
UNREACHABLE = f"exited with {TEMPORARY}"
EXPLAINED = re.compile(r"\w+Error: ")
"""How the message of a stage begins that explains its error."""


class StageError(ConcordError):
    """A stage failed, was killed, or exceeded its timeout."""

    def __init__(self, message: str, killed: bool, unreachable: bool = False) -> None:
        super().__init__(message)
        self.killed = killed
        """Whether a signal killed the stage (out of memory, preemption), so that a retry may
        succeed."""
        self.unreachable = unreachable
        """Whether the stage could not reach a server, so that a later attempt may succeed."""


@dataclass(frozen=True)
class Outcome:
    """The result of running a stage."""

    stage: Stage
    status: Status
    seconds: float


@contextmanager
def exclusive_run(log: Callable[[str], None]) -> Iterator[int]:
    """Waits until no other run uses this folder and locks it; yields the lock's file descriptor.

    DVC's own lock is not enough: DVC fails if two processes reproduce the same stage.
    """
    path = Path(".dvc/tmp/align.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log("another run is active in this folder; waiting for it to finish")
            fcntl.flock(file, fcntl.LOCK_EX)
        if remove_incomplete_lock(path.with_name("rwlock")):
            log("removed .dvc/tmp/rwlock, which a killed DVC process left incomplete")
        yield file.fileno()


@dataclass
class Processes:
    """The processes of the running stages, so that they can be terminated together."""

    folder: int
    """File descriptor of the lock on the project. A guard holds it until its stage has ended."""
    running: set[subprocess.Popen[bytes]] = field(default_factory=set)
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def ended(self) -> bool:
        """Whether the run is being cancelled."""
        return self.over.is_set()

    def wait(self, seconds: float) -> bool:
        """Waits, but not longer than until the run is cancelled. Returns whether it is."""
        return self.over.wait(seconds)

    @contextmanager
    def start(
        self, command: list[str], env: dict[str, str], slot: Slot | None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Starts `command` under the guard, with its output on one pipe; terminates it on exit."""
        guarded = [sys.executable, str(Path(guard.__file__)), *command]
        with self.lock:
            if self.ended:
                raise StageError("not started, because the run is being cancelled", killed=False)
            process = subprocess.Popen(
                guarded,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[self.folder] if slot is None else [self.folder, slot.descriptor],
            )
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
        """Terminates all running stages and starts no more."""
        with self.lock:
            self.over.set()
            for process in self.running:
                _close(process)


def run(
    stage: Stage,
    processes: Processes,
    line: Callable[[str], None],
    progress: Callable[[Path], None],
    slot: Slot | None = None,
    force: bool = False,
) -> Outcome:
    """Brings one stage up to date. Raises StageError.

    Args:
        stage: the stage to run.
        processes: the processes of this run.
        line: called with each line of the stage's output.
        progress: called with the progress file of the stage, about once per second.
        slot: the reserved GPU, if the stage needs one.
        force: whether it runs although nothing has changed.
    """
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
        options = ["--single-item", *(["--force"] if force else [])]
        with processes.start(dvc("repro", *options, stage.name), env, slot) as process:
            status: Status = "unchanged"
            for text in _lines(process, began + stage.meta.timeout, stage):
                progress(reports)
                if text is None or HINTS.match(text):
                    continue
                line(text)
                last = [*last[1:], text]
                status = _status_of(text) or status
            code = process.wait()
    if code:
        _fail(stage, code, [text for text in last if text], processes.ended)
    return Outcome(stage, status, time.monotonic() - began)


def _lines(process: subprocess.Popen[bytes], deadline: float, stage: Stage) -> Iterator[str | None]:
    """Yields the lines of the output as they arrive, and None after each second without output."""
    assert process.stdout is not None
    pipe, rest = process.stdout.fileno(), b""
    while True:
        if time.monotonic() > deadline:
            raise StageError(
                f"{stage.name} was terminated after its timeout of {stage.meta.timeout:g} s; "
                "raise `timeout` in the stage's meta in dvc.yaml, or reduce its work",
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


def _status_of(text: str) -> Status | None:
    if text.startswith("Running stage "):
        return "ran"
    if text.startswith("Stage ") and " is cached - skipping run" in text:
        return "restored"
    return None


def _fail(stage: Stage, code: int, last: list[str], ended: bool) -> None:
    if ended:
        raise StageError(f"{stage.name} was terminated with the run", killed=False)
    raise StageError(
        f"{stage.name} failed (exit status {code}){_reason(last)}",
        killed=128 < code < 192 or any(KILLED.search(text) for text in last),
        unreachable=any(UNREACHABLE in text for text in last),
    )


def _reason(last: list[str]) -> str:
    """The stage's own explanation, if it gave one; otherwise its last lines."""
    is_bug = any(text.lstrip().startswith('File "') for text in last)
    for start, text in enumerate(last):
        if EXPLAINED.match(text) and not is_bug:
            lines = itertools.takewhile(lambda line: not line.startswith("ERROR: "), last[start:])
            return ": " + "\n".join(lines)
    last_lines = "\n".join(f"    {text}" for text in last)
    return (
        f"; last lines of its output:\n{last_lines}\n"
        "fix the cause and run again; finished stages are kept"
    )


def _close(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
