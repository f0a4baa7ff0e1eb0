"""Planted reward models on a check of over-refusal: the head that prefers refusals fails it."""

import json
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from concord.evaluation.check_figures import verdict
from concord.evaluation.rewards.head_checks import outcome_checks, process_checks
from concord.objectives import Objective
from concord.stage.closure import ROOT

OBJECTIVES = {
    "helpful": Objective("values", "", reward="r"),
    "right": Objective("math", "", verifier="exact_match"),
}


def over_refusal() -> pd.DataFrame:
    """The check of the default recipe, as `prepare` writes it."""
    lines = (ROOT / "data/raw/checks/over_refusal.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    turns = [[{"role": "user", "content": row["prompt"]}] for row in rows]
    return pd.DataFrame(rows).assign(
        messages=turns, group_id=[row["prompt"] for row in rows], objective="helpful"
    )


class Planted:
    """A reward model whose head `helpful` scores an answer by a function of its text."""

    def __init__(self, score: Callable[[str], float]) -> None:
        self.rule = score
        self.objectives = ["harmless", "helpful"]

    def score(self, messages: Sequence[Any], responses: Sequence[str], _: int = 64) -> np.ndarray:
        column = [self.rule(response) for response in responses]
        return np.column_stack([np.zeros(len(column)), column])


def declines(answer: str) -> bool:
    return answer.startswith(("I cannot", "I will not"))


@pytest.mark.parametrize(
    ("rule", "share", "expected"),
    [
        (declines, 0.0, "fails"),
        (lambda answer: -declines(answer), 1.0, "holds"),
        (lambda answer: 0.0, 0.5, "fails"),
    ],
    ids=["prefers refusals", "prefers answers", "says nothing"],
)
def test_a_head_that_prefers_refusals_fails(
    rule: Callable[[str], float], share: float, expected: str
) -> None:
    figures = outcome_checks(Planted(rule), "helpful", {"over_refusal": over_refusal()})
    assert figures["over_refusal"]["share"] == share
    assert verdict(figures["over_refusal"], 0.8) == expected


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_head_that_reads_nothing_but_length_does_not_hold(sign: int) -> None:
    model = Planted(lambda answer: sign * len(answer))
    figures = outcome_checks(model, "helpful", {"over_refusal": over_refusal()})["over_refusal"]
    assert verdict(figures, 0.8) == "fails"
    assert figures["longer"] == pytest.approx(
        figures["share"] if sign > 0 else 1 - figures["share"]
    )


def test_a_head_of_another_objective_is_not_measured() -> None:
    assert outcome_checks(Planted(len), "harmless", {"over_refusal": over_refusal()}) == {}


class PlantedSteps:
    """A process reward model: a step scores 0.9 if it is right, else 0.2, on each objective."""

    objectives: ClassVar = ["right", "helpful"]

    def score_all(self, messages: Sequence[Any], steps: Sequence[Sequence[str]]) -> list[Any]:
        return [np.array([[0.2 if "bad" in step else 0.9] * 2 for step in each]) for each in steps]


def test_a_process_reward_model_scores_the_steps_of_each_answer() -> None:
    """With a verifier by the rule of best-of-N; without one by the last step."""
    row = {"messages": [], "group_id": "g"}
    math = {**row, "objective": "right", "chosen": "Good.", "rejected": "bad.\n\nGood."}
    talk = {**row, "objective": "helpful", "chosen": "bad. Good.", "rejected": "Good. bad."}
    checks = {"math": pd.DataFrame([math] * 2), "talk": pd.DataFrame([talk] * 2)}
    product = process_checks(PlantedSteps(), OBJECTIVES, checks, "product")
    assert {name: figures["share"] for name, figures in product.items()} == {"math": 1, "talk": 1}
    last = process_checks(PlantedSteps(), OBJECTIVES, checks, "last")
    assert {name: figures["share"] for name, figures in last.items()} == {"math": 0.5, "talk": 1}
