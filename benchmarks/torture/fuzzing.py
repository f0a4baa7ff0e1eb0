"""Fuzzed rows of every format, and fuzzed params files."""

import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings

from benchmarks.torture.fault_tries import Fault, UnsurvivedError, require
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


def faults(rows_per_format: int, params: int) -> list[Fault]:
    """Rows of all formats, and params files; one try each."""
    return [
        Fault("fuzzed rows", 1, lambda *_: fuzz_rows(rows_per_format)),
        Fault("fuzzed params files", 1, lambda *_: fuzz_params(params)),
    ]


def fuzz_rows(per_format: int) -> str:
    """Ingests files of fuzzed rows of every format."""
    counts, files = Counter[str](), -(-per_format // ROWS_PER_FILE)
    for name in FORMATS:
        for number in range(files):
            with no_hang():
                counts.update(_file(name, number))
    total = sum(counts[key] for key in ("kept", "quarantined", "left_out"))
    require(total == counts["found"], f"{counts['found'] - total} rows lost")
    return (
        f"{len(FORMATS)} formats, {files * ROWS_PER_FILE * len(FORMATS):,} rows: "
        f"{counts['found']} found = {counts['kept']} kept + {counts['quarantined']} quarantined + "
        f"{counts['left_out']} left out; {counts['refused']} of {files * len(FORMATS)} files "
        "refused in words"
    )


def _file(name: str, number: int) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        counts = account(name, ROWS_PER_FILE, seeded("torture", name, number), Path(folder))
    return counts or {"refused": 1}


def fuzz_params(wanted: int) -> str:
    """Checks fuzzed params files."""
    counts = Counter[str]()
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
            file.write_bytes(content)
            with no_hang():
                counts.update([_verdict(file)])

        before = Path.cwd()
        os.chdir(ROOT)
        try:
            one()
        finally:
            os.chdir(before)
    return f"{counts['refused']:,} refused in words, {counts['valid']:,} valid"


def _verdict(file: Path) -> str:
    return "valid" if refusal(file) is None else "refused"
