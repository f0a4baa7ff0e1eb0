"""Kept results are those that would be computed, or none."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from concord.stage.kept_results import KeptResults


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kept/results.sqlite"


def made(value: float, calls: list[float]) -> Callable[[], np.ndarray]:
    return lambda: (calls.append(value), np.array([value], np.float32))[1]


def test_results_outlive_the_stage_until_nothing_asks_for_them(file: Path) -> None:
    calls: list[float] = []
    for asked in ([1.5, 2.5], [2.5, 3.5], [1.5]):
        with KeptResults(file, "model") as kept:
            for value in asked:
                result = kept.part("features", [value], made(value, calls))
                assert result.dtype == np.float32
                assert result == value
    assert calls == [1.5, 2.5, 3.5, 1.5]


def test_other_settings_and_other_labels_are_other_results(file: Path) -> None:
    calls: list[float] = []
    for settings, label in (("one", "a"), ("two", "a"), ("two", "b")):
        with KeptResults(file, settings) as kept:
            kept.part(label, [1], made(1.5, calls))
    assert len(calls) == 3


def test_a_run_that_fails_keeps_what_it_finished_and_what_was_there(file: Path) -> None:
    calls: list[float] = []
    with KeptResults(file, "model") as kept:
        kept.part("a", [1], made(1, calls))
    with suppress(RuntimeError), KeptResults(file, "model") as kept:
        kept.part("a", [2], made(2, calls))
        raise RuntimeError
    with KeptResults(file, "model") as kept:
        for value in (1, 2):
            kept.part("a", [value], made(value, calls))
    assert calls == [1, 2]


def test_a_flipped_bit_is_computed_again(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[float] = []
    with KeptResults(file, "model") as kept:
        kept.part("a", [1], made(1, calls))
    with sqlite3.connect(file) as base:
        (content,) = base.execute("SELECT content FROM results").fetchone()
        flipped = content[:-2] + bytes([content[-2] ^ 1]) + content[-1:]
        base.execute("UPDATE results SET content = ?", (flipped,))
    base.close()
    for _ in range(2):
        with KeptResults(file, "model") as kept:
            assert kept.part("a", [1], made(1, calls)) == 1
    assert len(calls) == 2
    assert capsys.readouterr().out.count("is damaged") == 1


@pytest.mark.parametrize("content", [b"no database at all", b"SQLite format 3\0" + bytes(40)])
def test_a_damaged_file_is_replaced(file: Path, content: bytes) -> None:
    calls: list[float] = []
    file.parent.mkdir()
    file.write_bytes(content)
    for _ in range(2):
        with KeptResults(file, "model") as kept:
            kept.part("a", [1], made(1, calls))
    assert len(calls) == 1
