"""Tries of faults add up over calls, and the page has the table of the tries on record."""

import random
from pathlib import Path

import pytest

from benchmarks.torture.fault_tries import (
    Fault,
    UnsurvivedError,
    append,
    attempt,
    clear_error,
    load,
    next_fault,
    table,
)

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/results/reliability.md"
RECORD = ROOT / "docs/results/reliability.jsonl"


def survive(number: int, draw: random.Random) -> str:
    return f"same hashes after {number} and {draw.random():.6f}"


def fail(number: int, draw: random.Random) -> str:
    raise UnsurvivedError("other hashes")


FAULTS = [Fault("a kill", 4, survive), Fault("a cut", 2, fail)]


def test_a_second_call_adds_to_the_first(tmp_path: Path) -> None:
    """The fault with the smallest share of its tries is next, each time with other numbers."""
    file = tmp_path / "tries.jsonl"
    order = []
    while (chosen := next_fault(FAULTS, load(file))) is not None:
        fault, number = chosen
        order.append((fault.name, number))
        append(file, attempt("stages", fault, number, "abc1234"))
    assert order == [
        *[("a kill", 0), ("a cut", 0), ("a kill", 1)],
        *[("a kill", 2), ("a cut", 1), ("a kill", 3)],
    ]
    tries = load(file)
    assert [one.survived for one in tries] == [name == "a kill" for name, _ in order]
    assert len({one.seen for one in tries if one.survived}) == 4
    assert {one.seen for one in tries if not one.survived} == {"UnsurvivedError: other hashes"}


def test_the_table_counts_outcomes(tmp_path: Path) -> None:
    tries = [attempt("disk", FAULTS[1], number, "abc1234") for number in range(2)]
    tries += [attempt("disk", FAULTS[0], 0, "abc1234"), attempt("runs", FAULTS[0], 1, "abc1234")]
    _, _, cut, kill = table(tries[:3], "disk").splitlines()
    assert cut == "| a cut | 2 | 2 | 0 | **UnsurvivedError: other hashes** (2) |"
    assert kill.startswith("| a kill | 1 of 4 | 0 | 0 | same hashes after 0")
    assert len(table(tries, "runs").splitlines()) == 3


def test_a_traceback_is_not_a_clear_error() -> None:
    assert clear_error(1, "log\nDiskError: the disk is full\n") == "DiskError: the disk is full"
    with pytest.raises(UnsurvivedError, match="traceback"):
        clear_error(1, "Traceback (most recent call last):\nOSError: full\n")
    with pytest.raises(UnsurvivedError, match="ended well"):
        clear_error(0, "done")


@pytest.mark.parametrize("group", ["stages", "processes", "disk", "runs", "publication", "fuzz"])
def test_the_page_has_the_table_of_the_record(group: str) -> None:
    assert table(load(RECORD), group) in PAGE.read_text(encoding="utf-8")
