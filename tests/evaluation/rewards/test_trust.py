"""Diagnostics of a reward head: baselines, calibration, most confident errors."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from concord.evaluation.rewards.trust import (
    SHOWN,
    agreement,
    confident_errors,
    head_diagnostics,
)


def _pairs(count: int, **columns: Any) -> pd.DataFrame:
    rows = [
        {
            "messages": [{"role": "user", "content": f"q{n}"}],
            "chosen": f"please {n}",
            "rejected": f"no {n}",
            "group_id": f"g{n}",
        }
        for n in range(count)
    ]
    return pd.DataFrame(rows).assign(**columns)


def test_most_confident_errors_come_first() -> None:
    """Margins -2 1 -4 0 at temperature 2: errors with sigmoid(2) = .881 and sigmoid(1) = .731."""
    result = confident_errors(_pairs(4), np.array([-2.0, 1.0, -4.0, 0.0]), 2.0)
    assert [(each["prompt"], each["chosen"]) for each in result] == [
        ("q2", "please 2"),
        ("q0", "please 0"),
    ]
    assert [each["probability"] for each in result] == pytest.approx([0.880797, 0.731059], abs=1e-6)


def test_long_texts_are_truncated() -> None:
    (error,) = confident_errors(_pairs(1, chosen=["x" * 2000]), np.array([-1.0]), 1.0)
    assert len(error["chosen"]) == SHOWN


def test_baselines_are_fitted_to_the_training_pairs() -> None:
    result = head_diagnostics(_pairs(20), _pairs(20), np.ones(20), np.zeros(20), 1.0)
    assert result["baselines"]["tf_idf"]["value"] == 1.0
    assert result["baselines"]["author"] is None
    assert (
        head_diagnostics(_pairs(3), _pairs(0), np.ones(3), np.zeros(3), 1.0)["baselines"]["tf_idf"]
        is None
    )
    named = {"chosen_author": "Ann", "rejected_author": "Bob"}
    assert (
        head_diagnostics(_pairs(9, **named), _pairs(9, **named), np.ones(9), np.zeros(9), 1.0)[
            "baselines"
        ]["author"]["value"]
        == 1
    )


def test_a_baseline_reports_its_number_of_pairs() -> None:
    """The authors of 7 of the 20 pairs are known."""
    named = {
        side: [name] * 7 + [None] * 13
        for side, name in (("chosen_author", "Ann"), ("rejected_author", "Bob"))
    }
    result = head_diagnostics(
        _pairs(20, **named), _pairs(20, **named), np.ones(20), np.zeros(20), 1.0
    )["baselines"]
    assert (result["author"]["pairs"], result["longer"]["pairs"]) == (7, 20)
    named["source"] = ["a"] * 5 + ["b"] * 15
    by_source = head_diagnostics(
        _pairs(20, **named), _pairs(20, **named), np.ones(20), np.zeros(20), 1.0
    )["by_source"]
    assert [values["author"]["pairs"] for values in by_source.values()] == [5, 2]


def test_metrics_are_reported_per_source() -> None:
    """Right on the 12 pairs of one source, wrong on the 8 of the other; no table for one source."""
    pairs = _pairs(20, source=["b"] * 12 + ["a"] * 8)
    margins = np.array([1.0] * 12 + [-1.0] * 8)
    result = head_diagnostics(pairs, _pairs(20), margins, np.zeros(20), 1.0)["by_source"]
    assert {
        name: (values["pairs"], values["head"]["value"]) for name, values in result.items()
    } == {
        "a": (8, 0.0),
        "b": (12, 1.0),
    }
    assert (result["a"]["tf_idf"]["value"], result["a"]["author"]) == (1.0, None)
    assert (
        head_diagnostics(_pairs(9, source="a"), _pairs(9), np.ones(9), np.zeros(9), 1.0)[
            "by_source"
        ]
        == {}
    )
    assert head_diagnostics(_pairs(9), _pairs(9), np.ones(9), np.zeros(9), 1.0)["by_source"] == {}


def test_overconfidence_increases_the_calibration_error() -> None:
    """Half of the pairs are right: an unsure head is calibrated, a confident one is off by 0.5."""
    margins = np.array([1.0, -1.0] * 10)
    errors = [
        head_diagnostics(_pairs(20), _pairs(20), margins, np.zeros(20), scale)["calibration"][
            "error"
        ]
        for scale in (1e4, 0.01)
    ]
    assert errors == pytest.approx([0.0, 0.5], abs=1e-3)


def test_without_pairs_there_is_no_calibration() -> None:
    result = head_diagnostics(_pairs(3)[:0], _pairs(3)[:0], np.zeros(0), np.zeros(0), None)
    assert set(result["baselines"].values()) == {None}
    assert (result["calibration"]["temperature"], result["calibration"]["reliability"]) == (
        None,
        [],
    )
    assert np.isnan(result["calibration"]["error"])
    assert result["confident_errors"] == []
    uncalibrated = head_diagnostics(_pairs(3), _pairs(3), np.ones(3), np.zeros(3), None)[
        "calibration"
    ]
    assert uncalibrated["temperature"] is None
    assert uncalibrated["error"] == pytest.approx(1 / (1 + np.e))


def test_heads_agree_by_rank() -> None:
    scores = {"a": [1.0, 2.0, 3.0], "b": [1.0, 4.0, 9.0], "c": [3.0, 2.0, 1.0]}
    assert agreement(scores, "a") == {"b": pytest.approx(1.0), "c": pytest.approx(-1.0)}
