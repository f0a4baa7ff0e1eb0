"""What is said of a reward head beside its accuracy: baselines, calibration, and its surest errors."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from concord.evaluation.rewards.trust import SHOWN, agreement, confident_errors, trust


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


def test_the_surest_errors_come_first_and_right_pairs_never() -> None:
    """Margins -2, 1, -4, 0 at temperature 2: held wrongly by sigmoid(2) = .881 and sigmoid(1) = .731."""
    found = confident_errors(_pairs(4), np.array([-2.0, 1.0, -4.0, 0.0]), 2.0)
    assert [(each["prompt"], each["chosen"]) for each in found] == [
        ("q2", "please 2"),
        ("q0", "please 0"),
    ]
    assert [each["probability"] for each in found] == pytest.approx([0.880797, 0.731059], abs=1e-6)


def test_long_texts_are_cut() -> None:
    (error,) = confident_errors(_pairs(1, chosen=["x" * 2000]), np.array([-1.0]), 1.0)
    assert len(error["chosen"]) == SHOWN


def test_baselines_are_fitted_to_the_training_pairs() -> None:
    found = trust(_pairs(20), _pairs(20), np.ones(20), np.zeros(20), 1.0)
    assert found["baselines"]["tf_idf"]["value"] == 1.0
    assert found["baselines"]["author"] is None
    assert trust(_pairs(3), _pairs(0), np.ones(3), np.zeros(3), 1.0)["baselines"]["tf_idf"] is None
    named = {"chosen_author": "Ann", "rejected_author": "Bob"}
    assert (
        trust(_pairs(9, **named), _pairs(9, **named), np.ones(9), np.zeros(9), 1.0)["baselines"][
            "author"
        ]["value"]
        == 1
    )


def test_a_baseline_says_on_how_many_pairs_it_stands() -> None:
    """Authors are known of 7 of the 20 pairs."""
    named = {
        side: [name] * 7 + [None] * 13
        for side, name in (("chosen_author", "Ann"), ("rejected_author", "Bob"))
    }
    found = trust(_pairs(20, **named), _pairs(20, **named), np.ones(20), np.zeros(20), 1.0)[
        "baselines"
    ]
    assert (found["author"]["pairs"], found["longer"]["pairs"]) == (7, 20)
    named["source"] = ["a"] * 5 + ["b"] * 15
    by_source = trust(_pairs(20, **named), _pairs(20, **named), np.ones(20), np.zeros(20), 1.0)[
        "by_source"
    ]
    assert [own["author"]["pairs"] for own in by_source.values()] == [5, 2]


def test_each_source_has_its_own_figures() -> None:
    """Right on the 12 pairs of one source, wrong on the 8 of the other; one source alone needs no table."""
    pairs = _pairs(20, source=["b"] * 12 + ["a"] * 8)
    margins = np.array([1.0] * 12 + [-1.0] * 8)
    found = trust(pairs, _pairs(20), margins, np.zeros(20), 1.0)["by_source"]
    assert {name: (own["pairs"], own["head"]["value"]) for name, own in found.items()} == {
        "a": (8, 0.0),
        "b": (12, 1.0),
    }
    assert (found["a"]["tf_idf"]["value"], found["a"]["author"]) == (1.0, None)
    assert trust(_pairs(9, source="a"), _pairs(9), np.ones(9), np.zeros(9), 1.0)["by_source"] == {}
    assert trust(_pairs(9), _pairs(9), np.ones(9), np.zeros(9), 1.0)["by_source"] == {}


def test_a_bold_head_is_told_from_a_careful_one() -> None:
    """Right half of the time: sure of nothing is calibrated, sure of all is off by a half."""
    margins = np.array([1.0, -1.0] * 10)
    errors = [
        trust(_pairs(20), _pairs(20), margins, np.zeros(20), scale)["calibration"]["error"]
        for scale in (1e4, 0.01)
    ]
    assert errors == pytest.approx([0.0, 0.5], abs=1e-3)


def test_without_pairs_there_is_no_calibration() -> None:
    found = trust(_pairs(3)[:0], _pairs(3)[:0], np.zeros(0), np.zeros(0), None)
    assert set(found["baselines"].values()) == {None}
    assert (found["calibration"]["temperature"], found["calibration"]["reliability"]) == (None, [])
    assert np.isnan(found["calibration"]["error"])
    assert found["confident_errors"] == []
    uncalibrated = trust(_pairs(3), _pairs(3), np.ones(3), np.zeros(3), None)["calibration"]
    assert uncalibrated["temperature"] is None
    assert uncalibrated["error"] == pytest.approx(1 / (1 + np.e))


def test_heads_agree_by_rank() -> None:
    scores = {"a": [1.0, 2.0, 3.0], "b": [1.0, 4.0, 9.0], "c": [3.0, 2.0, 1.0]}
    assert agreement(scores, "a") == {"b": pytest.approx(1.0), "c": pytest.approx(-1.0)}
