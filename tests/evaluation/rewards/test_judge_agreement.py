"""Agreement of a judge's verdicts on prefixes with human step labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from concord.evaluation.rewards.judge_agreement import judge_agreement


class Judge:
    """Accepts an answer unless it contains "bad"."""

    def verdicts(self, messages: Sequence[Any], answers: Sequence[str]) -> np.ndarray:
        return np.array([0.0 if "bad" in answer else 1.0 for answer in answers])


class Labeller:
    def judge(self, name: str, samples: Sequence[Any]) -> Judge:
        return Judge()


def _agreement(steps: list[str], labels: list[float | None]) -> dict[str, Any] | None:
    row = {"messages": [], "steps": steps, "labels": labels}
    return judge_agreement(Labeller(), "fun", [row], [])  # type: ignore[arg-type]


def test_agreement_by_hand() -> None:
    """Unlabelled steps do not count. After "bad ", the judge rejects every prefix."""
    assert _agreement(["good ", "bad ", "good ", "good"], [1.0, 0.0, None, 1.0]) == {
        "split": "validation",
        "steps": 3,
        "agreement": pytest.approx(2 / 3),
        "auc": pytest.approx(0.75),
        "good": pytest.approx(2 / 3),
    }


@pytest.mark.parametrize("labels", [[1.0, 1.0], [0.0, None], [None, None]])
def test_labels_of_one_kind_give_no_result(labels: list[float | None]) -> None:
    assert _agreement(["a ", "b"], labels) is None
