"""Step scores by hand: first errors, their F1, and unlabelled steps."""

import numpy as np
import pytest

from concord.evaluation.rewards.step_quality import (
    Located,
    best_threshold,
    error_location,
    first_below,
    first_error,
    processbench,
    step_quality,
)


def test_the_first_error_is_at_the_largest_drop_of_the_score() -> None:
    """Errors at steps 1, 0 and none: the largest drop finds both, the prior finds one."""
    gold = [np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0]), np.array([1.0, 1.0])]
    scores = [np.array([0.9, 0.2, 0.1]), np.array([0.1, 0.1]), np.array([0.9, 0.9])]
    assert [first_error(each) for each in gold] == [1, 0, -1]
    assert error_location(scores, gold) == {
        "first_error_accuracy": 1.0,
        "first_error_prior": 0.5,
        "responses_with_error": 2,
    }


def test_step_quality_ignores_unlabelled_steps() -> None:
    """Right steps score .9 and .8, the wrong one .1: AUC 1. The unlabelled step is ignored."""
    scores, gold = (
        [np.array([0.9, 0.1]), np.array([0.8, 0.0])],
        [np.array([1.0, 0.0]), np.array([1.0, np.nan])],
    )
    result = step_quality(scores, gold, ["a", "b"], 20, 0)
    assert (result["auc"], result["steps"], result["responses"]) == (1.0, 3, 2)
    assert result["right_share"] == pytest.approx(2 / 3)


GOLD = [np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0]), np.array([1.0, 1.0]), np.array([1.0])]
SCORES = [np.array([0.9, 0.2, 0.6]), np.array([0.8, 0.3]), np.array([0.9, 0.7]), np.array([0.4])]


def test_f1_by_hand() -> None:
    """At .5, one of two first errors is found and one of two right responses passes: .5.

    At .35 both right responses pass: 2 * .5 * 1 / 1.5 = 2 / 3.
    """
    assert [first_below(each, 0.5) for each in SCORES] == [1, 1, -1, 0]
    assert Located.of(SCORES, GOLD, 0.5).f1() == 0.5
    assert Located.of(SCORES, GOLD, 0.35).f1() == pytest.approx(2 / 3)
    assert np.isnan(Located.of(SCORES[:2], GOLD[:2], 0.5).f1())
    assert Located.of(SCORES, GOLD, 0.0).f1() == 0.0  # no error is found


def test_the_best_threshold_lies_between_scores() -> None:
    """The best threshold is between .3 (a wrong step) and .4 (a right one)."""
    threshold = best_threshold(SCORES, GOLD)
    assert threshold is not None
    assert 0.2 < threshold <= 0.4
    assert best_threshold(SCORES[:2], GOLD[:2]) is None


def test_the_report_of_first_errors() -> None:
    result = processbench(SCORES * 5, GOLD * 5, [str(n) for n in range(20)], 0.35, 200, 0)
    assert result["f1"]["value"] == pytest.approx(2 / 3)
    assert 0 < result["f1"]["ci_low"] < 2 / 3 < result["f1"]["ci_high"] <= 1
    assert (result["wrong_found"], result["right_passed"], result["wrong"], result["right"]) == (
        0.5,
        1.0,
        10,
        10,
    )
