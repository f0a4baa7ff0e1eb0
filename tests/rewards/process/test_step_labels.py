"""Step labels: hindsight values, completions of prefixes, and verdicts of a judge."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from concord.objectives import Objective
from concord.rewards.process.judging import HeadJudge
from concord.rewards.process.labellers.hindsight import hindsight_value
from concord.rewards.process.labelling import Context, label
from concord.rewards.process.step_labels import complete, prefixes, score_mean_and_std

CHECKED = Context(Objective(domain="math", description="", verifier="math_answer"), gamma=0.9)
QUESTION = [{"role": "user", "content": "1 + 1?"}]


def _sample(*steps: str) -> dict[str, Any]:
    return {"messages": QUESTION, "steps": list(steps), "domain": "math", "reference": "2"}


def test_the_hindsight_value_equals_a_hand_computed_value() -> None:
    """From step 1: correct after 2 more steps, wrong, correct at once: (.9^2 + 0 + 1) / 3."""
    assert hindsight_value([1, 0, 1], [3, 4, 1], step=1, gamma=0.9) == pytest.approx(
        (0.81 + 0 + 1) / 3
    )


def test_prefixes_join_the_steps() -> None:
    assert prefixes(["a ", "b ", "c"]) == ["a ", "a b ", "a b c"]


def test_every_prefix_but_the_last_is_completed() -> None:
    completed: list[str] = []

    def generate(messages: Sequence[Any], beginnings: Sequence[str]) -> list[str]:
        completed.extend(beginnings)
        return [f"end {index}" for index in range(len(beginnings))]

    completions = complete([_sample("a ", "b "), _sample("c ")], generate, 2)
    assert completed == ["a ", "a "]
    assert completions == [[["a end 0", "a end 1"], ["a b "]], [["c "]]]


def test_hindsight_labels_equal_hand_computed_values() -> None:
    """One of two completions of step 1 is correct after one more step: .9 / 2."""
    step, right, wrong = "1 + 1 = 2\n\n", r"\boxed{2}", r"\boxed{3}"
    sample = {**_sample(step, right), "completed": [[step + right, step + wrong], [step + right]]}
    assert label("hindsight", [sample], CHECKED) == [[pytest.approx(0.45), pytest.approx(1.0)]]
    alone = {**_sample(wrong), "completed": [[wrong]]}
    assert label("hindsight", [alone, sample], CHECKED)[0] == [0.0]


class Length:
    """A reward model whose second head scores the length of the answer."""

    objectives = ("other", "helpful")

    def __init__(self) -> None:
        self.objectives = ["other", "helpful"]

    def score(
        self, messages: Sequence[Any], responses: Sequence[str], batch_size: int = 64
    ) -> np.ndarray:
        return np.array([[0.0, len(response)] for response in responses], dtype=np.float32)


def judged_by(judge: Any) -> Context:
    return Context(Objective(domain="math", description="", reward="r"), gamma=0.9, judge=judge)


def test_prefix_labels_are_the_sigmoid_of_the_standardised_score() -> None:
    """Whole answers have 2 and 4 letters: mean 3, std 1. The prefixes have 1 and 2 letters."""
    samples = [_sample("a", "b"), _sample("abcd")]
    standard = score_mean_and_std(samples, Length(), "helpful")
    assert standard == (3.0, 1.0)
    labels = label("prefix", samples, judged_by(HeadJudge(Length(), "helpful", standard)))
    assert labels[0] == pytest.approx([1 / (1 + np.e**2), 1 / (1 + np.e)])
    assert labels[1] == pytest.approx([1 / (1 + np.e**-1)])


def test_a_majority_is_more_than_half() -> None:
    """Verdicts are above 0.5 for more than 3 letters: 2 of 4 completions, then 2 of 3."""
    completed = [["aaaa", "aaaa", "a", "a"], ["aaaa", "aaaa", "a"], ["aaa"]]
    sample = {**_sample("a", "a", "a"), "completed": completed}
    assert label("majority", [sample], judged_by(HeadJudge(Length(), "helpful", (3.0, 1.0)))) == [
        [0.0, 1.0, 0.0]
    ]


def test_reward_labels_are_prefix_labels() -> None:
    samples, judge = [_sample("a", "b")], HeadJudge(Length(), "helpful", (3.0, 1.0))
    assert label("reward", samples, judged_by(judge)) == label("prefix", samples, judged_by(judge))
