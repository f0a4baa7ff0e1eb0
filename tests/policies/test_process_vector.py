"""The reward vector with process rewards: who judges what, and its anchors."""

from typing import Any

import numpy as np
import pytest

from concord.objectives import Objective
from concord.policies.process_vector import ProcessVector
from concord.rewards.verifiers import dispatch
from concord.stage.errors import DataError, ModelError
from tests.policies.conftest import rollouts

OBJECTIVES = {
    "kind": Objective(domain="values", description="", reward="values"),
    "right": Objective(domain="math", description="", verifier="math_answer"),
    "short": Objective(domain="math", description="", verifier="exact_match"),
}


class Letters:
    """A process reward model: a step's score on `right` is its share of the letter a."""

    objectives = ("other", "right")

    def __init__(self) -> None:
        self.objectives = ["other", "right"]

    def score_all(self, messages: Any, steps: Any, batch_size: int) -> list[np.ndarray]:
        return [
            np.array([[0.3, step.count("a") / len(step)] for step in each], dtype=np.float32)
            for each in steps
        ]


class Constant:
    """A reward model that gives 7."""

    objectives = ("kind",)

    def __init__(self) -> None:
        self.objectives = ["kind"]

    def score(self, messages: Any, responses: Any, batch_size: int) -> np.ndarray:
        return np.full((len(responses), 1), 7.0)


def vector(**forms: Any) -> ProcessVector:
    return ProcessVector(OBJECTIVES, {"values": Constant()}, Letters(), forms)


def scored(one: ProcessVector, texts: list[str], domains: list[str]) -> np.ndarray:
    messages = [[{"role": "user", "content": "q"}]] * len(texts)
    return one.score(messages, texts, domains, ["x"] * len(texts))


def test_an_objective_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """`right` has a step of a and a step of b, and its verifier is not called."""
    called: list[str] = []

    def verify(name: str, answers: list[str], references: Any) -> np.ndarray:
        called.append(name)
        return np.full(len(answers), 5.0)

    monkeypatch.setattr(dispatch, "score_all", verify)
    one = vector(right="mean")
    raw = scored(one, ["aaaa\n\nb", "", "hello"], ["math", "math", "values"])
    nan = np.nan
    expected = [[nan, 4 / 6 / 2, 5.0], [nan, 0.0, 5.0], [7.0, nan, nan]]
    np.testing.assert_allclose(raw, expected, atol=1e-6)
    assert called == ["exact_match"]
    assert one.steps == [["aaaa\n\n", "b"], [""], ["hello"]]
    assert one.step_scores["right"][2] is None
    last = scored(vector(right="difference"), ["aaaa\n\nb", "b\n\na"], ["math"] * 2)
    np.testing.assert_allclose(last[:, 1], [0.0, 1.0])


def test_anchors_are_those_of_the_rollouts() -> None:
    """A share of the letter a; all responses are one step."""
    frame = rollouts()
    texts = frame[frame["domain"] == "math"]["response"]
    shares = [text.count("a") / len(text) for text in texts]
    anchor = vector(right="mean").anchors(frame).anchors["right"]
    assert (anchor.mean, anchor.std) == pytest.approx((np.mean(shares), np.std(shares)))
    assert (anchor.direction, anchor.n) == (1, len(texts))
    with pytest.raises(DataError, match="the domain math has no rollouts"):
        vector(right="mean").anchors(frame[frame["domain"] == "values"])


def test_a_missing_head() -> None:
    with pytest.raises(ModelError, match="no head for short; add it to process_labels"):
        vector(short="mean")
