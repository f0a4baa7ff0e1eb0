"""Shares of comparisons that come out right, their intervals, and the verdicts."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from concord.evaluation import check_figures
from concord.evaluation.metrics import wilson
from concord.prepared.check_params import Check
from concord.stage.errors import DataError

CHECK = Check("contrast", "kind", 0.7)


def _pairs(groups: list[str]) -> pd.DataFrame:
    rows = {"messages": [[{"role": "user", "content": "Hi"}]] * len(groups), "objective": "kind"}
    return pd.DataFrame({**rows, "chosen": "Gladly.", "rejected": "No.", "group_id": groups})


def _figures(right: int, count: int) -> dict[str, Any]:
    """The figures of `count` prompts, `right` of which come out right."""
    scores = np.concatenate([np.arange(count) < right, np.full(count, 0.5)])
    return check_figures.figures(_pairs([str(number) for number in range(count)]), scores)


def test_the_interval_is_that_of_wilson() -> None:
    """Figures of R's prop.test without continuity correction, by hand from the formula."""
    assert _figures(8, 10)["ci_low"] == pytest.approx(0.4902, abs=1e-4)
    assert _figures(8, 10)["ci_high"] == pytest.approx(0.9433, abs=1e-4)
    assert wilson(0.0, 10).high == pytest.approx(0.2775, abs=1e-4)
    with pytest.raises(DataError, match="give at least one comparison"):
        wilson(0.5, 0)


def test_a_few_comparisons_that_all_come_out_right_are_not_enough() -> None:
    """A bootstrap of five hits would have no width, and hold."""
    assert check_figures.verdict(_figures(5, 5), 0.7) == "uncertain"
    assert check_figures.verdict(_figures(9, 9), 0.7) == "holds"
    assert check_figures.verdict(_figures(0, 3), 0.7) == "fails"
    assert check_figures.verdict(_figures(32, 40), 0.7) == "uncertain"
    assert check_figures.verdict(_figures(36, 40), 0.7) == "holds"
    assert check_figures.verdict(_figures(20, 40), 0.7) == "fails"
    assert check_figures.verdict({**_figures(20, 40), "unchanged": True}, 0.7) == "same as SFT"


def test_a_prompt_counts_once_however_many_pairs_it_has() -> None:
    pairs = _pairs(["a"] * 9 + ["b"])
    scores = np.array([1.0] * 9 + [0.0] + [0.5] * 10)
    figures = check_figures.figures(pairs, scores)
    assert (figures["share"], figures["pairs"], figures["prompts"]) == (0.5, 10, 2)
    assert figures["ci_high"] == wilson(0.5, 2).high
    assert figures["longer"] == 1.0


def test_a_tie_counts_one_half() -> None:
    assert check_figures.mean_over_prompts(_pairs(["a", "b"]), np.ones(4)) == 0.5


def test_a_row_per_subject_that_was_measured() -> None:
    one, other = {"polite": _figures(40, 40)}, {"polite": _figures(4, 40)}
    subjects = [("one", one), ("unmeasured", {}), ("other", other)]
    rows = list(check_figures.judged({"polite": CHECK}, subjects))
    assert [row["subject"] for row in rows] == ["one", "other"]
    assert [row["verdict"] for row in rows] == ["holds", "fails"]
    assert rows[0]["at_least"] == 0.7
