"""Quality of a process reward model and of the baselines, computed by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from concord.rewards.process.process_quality import long_table, quality


class Fixed:
    """Scores steps 1 and 2 with .5 and 0 on objective a, with 1 and .5 on objective b."""

    objectives = ("a", "b")

    def __init__(self) -> None:
        self.objectives = ["a", "b"]

    def score_all(self, messages: list[Any], steps: list[list[str]]) -> list[np.ndarray]:
        return [np.array([[0.5, 1.0], [0.0, 0.5]])[: len(each)] for each in steps]


def _frame(*labels: list[float | None], objective: str = "a") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "messages": [[]] * len(labels),
            "steps": [["x", "y"]] * len(labels),
            "objective": objective,
            "labels": labels,
        }
    )


def test_metrics_equal_hand_computed_values() -> None:
    """Labels 1 and 0, scores .5 and 0. The training mean is .5; by position it is .625 and .25."""
    train = _frame([1.0, 0.5], [1.0, 0.0], [0.0, None], [0.5, None])
    train = pd.concat([train, _frame([None, None])])
    figures = quality(Fixed(), train, _frame([1.0, 0.0]))  # type: ignore[arg-type]
    assert list(figures) == ["a"]
    assert figures["a"] == {
        "steps": 2,
        "rmse": pytest.approx(0.125**0.5),
        "rmse_mean": pytest.approx(0.5),
        "rmse_position": pytest.approx((((1 - 0.625) ** 2 + 0.25**2) / 2) ** 0.5),
        "rank_correlation": pytest.approx(1.0),
    }


def test_an_objective_uses_its_own_head() -> None:
    figures = quality(Fixed(), _frame([1.0, 0.5], objective="b"), _frame([1.0, 0.5], objective="b"))  # type: ignore[arg-type]
    assert figures["b"]["rmse"] == pytest.approx(0.0)


def test_constant_labels_have_no_rank_correlation() -> None:
    assert quality(Fixed(), _frame([1.0, 1.0]), _frame([1.0, 1.0]))["a"]["rank_correlation"] is None  # type: ignore[arg-type]


def test_unlabelled_steps_are_ignored() -> None:
    assert long_table(_frame([None, 0.5], [float("nan"), 1.0]))["position"].tolist() == [2, 2]
