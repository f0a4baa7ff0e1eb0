"""Step labels: hindsight values by hand, completions per prefix, and verdicts of a judge."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tasks.rewards.step_labels import by_hindsight, by_judge, hindsight_value, prefixes, standard_of

QUESTION = [{"role": "user", "content": "1 + 1?"}]


def _sample(*steps: str) -> dict[str, Any]:
    return {"messages": QUESTION, "steps": list(steps), "domain": "math", "reference": "2"}


def test_hindsight_value_by_hand() -> None:
    """From step 1: right after 2 more steps, wrong, right at once: (.9^2 + 0 + 1) / 3."""
    assert hindsight_value([1, 0, 1], [3, 4, 1], step=1, gamma=0.9) == pytest.approx((0.81 + 0 + 1) / 3)


def test_prefixes_join_the_steps() -> None:
    assert prefixes(["a ", "b ", "c"]) == ["a ", "a b ", "a b c"]


def test_by_hindsight_completes_every_prefix_but_the_last() -> None:
    """Two completions of step 1, one right after one more step: .9 / 2; the whole answer is right: 1."""
    asked: list[str] = []

    def generate(messages: Sequence[Any], beginnings: Sequence[str]) -> list[str]:
        asked.extend(beginnings)
        return [r"\boxed{2}", r"\boxed{3}"]

    sample = _sample("1 + 1 = 2\n\n", r"\boxed{2}")
    labels = by_hindsight([sample], "math_answer", generate, completions=2, gamma=0.9)
    assert asked == ["1 + 1 = 2\n\n"] * 2
    assert labels == [[pytest.approx(0.45), pytest.approx(1.0)]]


def test_an_answer_of_one_step_needs_no_completion() -> None:
    labels = by_hindsight([_sample(r"\boxed{3}")], "math_answer", lambda messages, beginnings: [], 4, 0.9)
    assert labels == [[0.0]]


class Length:
    """A reward model whose second head is the length of the answer."""

    objectives = ("other", "helpful")

    def __init__(self) -> None:
        self.objectives = ["other", "helpful"]

    def score(self, messages: Sequence[Any], responses: Sequence[str], batch_size: int = 64) -> np.ndarray:
        return np.array([[0.0, len(response)] for response in responses], dtype=np.float32)


def test_by_judge_is_the_sigmoid_of_the_standardised_score() -> None:
    """Whole answers of 2 and 4 letters: mean 3, std 1. Prefixes of 1 and 2: sigmoid(-2) and sigmoid(-1)."""
    samples = [_sample("a", "b"), _sample("abcd")]
    standard = standard_of(samples, Length(), "helpful")
    assert standard == (3.0, 1.0)
    labels = by_judge(samples, Length(), "helpful", standard)
    assert labels[0] == pytest.approx([1 / (1 + np.e**2), 1 / (1 + np.e)])
    assert labels[1] == pytest.approx([1 / (1 + np.e**-1)])
