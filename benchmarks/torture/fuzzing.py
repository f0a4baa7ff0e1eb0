"""Fuzzed rows of every format, and fuzzed params files."""

import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings

from benchmarks.torture.fault_rows import Row, UnsurvivedError
from tests.annotations.fuzzed_rows import FORMATS, ROWS_PER_FILE, account, seeded
from tests.tasks.fuzzed_params import ROOT, params_files, refusal

LONGEST = 60
"""Seconds after which a file counts as a hang."""


@contextmanager
def no_hang() -> Iterator[None]:
    """Raises UnsurvivedError after `LONGEST` seconds."""

    def stop(*_: object) -> None:
        raise UnsurvivedError(f"took longer than {LONGEST} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def rows(rows_per_format: int, params: int, deadline: float) -> Iterator[Row]:
    """A row for all formats, and one for params files."""
    began = time.monotonic()
    yield fuzz_rows(rows_per_format, began + 0.6 * (deadline - began))
    yield fuzz_params(params, deadline)


def fuzz_rows(wanted: int, deadline: float) -> Row:
    """Ingests files of fuzzed rows; all formats in turn, so that each gets the same number."""
    row = Row("fuzzed rows", wanted * len(FORMATS))
    began, counts, files = time.monotonic(), Counter[str](), -(-wanted // ROWS_PER_FILE)
    os.environ.setdefault("TQDM_DISABLE", "1")
    for number in range(files):
        if time.monotonic() > deadline:
            break
        for name in FORMATS:
            counts.update(_survived(row, lambda name=name, number=number: _file(name, number)))
            row.tries += ROWS_PER_FILE
    total = sum(counts[key] for key in ("kept", "quarantined", "left_out"))
    row.seen = [
        f"{len(FORMATS)} formats: {counts['found']} rows found = {counts['kept']} kept + "
        f"{counts['quarantined']} quarantined + {counts['left_out']} left out; "
        f"{counts['refused']} of {row.tries // ROWS_PER_FILE} files refused in words"
    ]
    if total != counts["found"]:
        row.failures.append(f"{counts['found'] - total} rows lost")
    row.seconds = time.monotonic() - began
    return row


def _file(name: str, number: int) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        counts = account(name, ROWS_PER_FILE, seeded("torture", name, number), Path(folder))
    return counts or {"refused": 1}


def _survived(row: Row, one: Callable[[], dict[str, int]]) -> dict[str, int]:
    try:
        with no_hang():
            return one()
    except Exception as error:  # noqa: BLE001 - every failure is a figure of the table
        row.failures.append(f"{type(error).__name__}: {str(error)[:200]}")
        return {}


def fuzz_params(wanted: int, deadline: float) -> Row:
    """Checks fuzzed params files."""
    row, began, counts = Row("fuzzed params files", wanted), time.monotonic(), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "params.yaml"

        @hypothesis.seed(16)
        @settings(
            max_examples=wanted,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(params_files())
        def one(content: bytes) -> None:
            if time.monotonic() > deadline:
                return
            file.write_bytes(content)
            row.tries += 1
            counts.update(_survived(row, lambda: {_verdict(file): 1}))

        before = Path.cwd()
        os.chdir(ROOT)
        try:
            one()
        finally:
            os.chdir(before)
    row.seen = [f"{counts['refused']} refused in words, {counts['valid']} valid"]
    row.seconds = time.monotonic() - began
    return row


def _verdict(file: Path) -> str:
    return "valid" if refusal(file) is None else "refused"
