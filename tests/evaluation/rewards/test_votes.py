"""Answers vote together where the verifier reads them as the same."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from concord.evaluation.rewards import baselines
from concord.evaluation.rewards.votes import ballots
from concord.objectives import Objective
from concord.stage.params import Runtime, Seeds
from tasks import evaluate_rewards


def boxed(*answers: str) -> list[str]:
    return [rf"so \boxed{{{answer}}}" for answer in answers]


def test_what_is_equal_as_mathematics_votes_together() -> None:
    """Named as it stands first: two of five say three quarters, one of them in a box with braces of its own."""
    found = ballots("math_answer", [*boxed("2", "0.75", r"\frac{3}{4}"), "I give up", r"\boxed{}"])
    assert found == ["2", "0.75", "0.75", None, None]
    assert ballots("math_answer", ["#### 1,204", *boxed("1204")]) == ["1,204", "1,204"]


@pytest.mark.parametrize(
    ("verifier", "responses", "expected"),
    [
        (
            "multiple_choice",
            ["The answer is B.", r"\boxed{\text{(B)}}", "A or B", "nothing"],
            ["B", "B", None, None],
        ),
        (
            "exact_match",
            ["Blue  whale", "#### blue whale", "whale"],
            ["blue whale", "blue whale", "whale"],
        ),
        ("regular_expression", ["Yes", "yes", "no"], ["yes", "yes", "no"]),
        ("my_checks:is_even", [*boxed("4"), "#### 4", "4"], ["4", "4", None]),
    ],
)
def test_other_verifiers_read_in_their_own_way(
    verifier: str, responses: list[str], expected: list[Any]
) -> None:
    assert ballots(verifier, responses) == expected


def test_the_baselines_vote_by_the_same_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three answers to one problem two are 3/4 in different words, which is the majority."""
    rows = [
        {
            "objective": "right",
            "messages": [{"role": "user", "content": "?"}],
            "response": text,
            "rating": 0.0,
        }
        for text in boxed("2", "0.75", r"\frac{3}{4}")
    ]
    monkeypatch.setattr(baselines, "read_table", lambda _: pd.DataFrame(rows))
    graded = baselines.answers("test", "right", "math_answer").assign(
        author="a", correct=[0.0, 1.0, 1.0]
    )
    assert baselines.guesses(graded, graded)["majority"].tolist() == [1.0, 2.0, 2.0]


def test_best_of_n_votes_by_the_same_reading() -> None:
    """The majority is right: two of three, who write it in different words; the scorer takes the wrong one."""
    graded = pd.DataFrame(
        {"response": boxed("2", "0.75", r"\frac{3}{4}"), "correct": [0.0, 1.0, 1.0]}
    )
    graded = graded.assign(problem=0, group_id="g", messages=[[]] * 3)

    class Judge:
        def graded(self, name: str, objective: Objective) -> pd.DataFrame:
            return graded

    params, settings = (
        evaluate_rewards.EvaluateRewardsParams(pairs=1),
        Runtime(threads=1, device="cpu"),
    )
    job = evaluate_rewards.EvaluateRewardsJob(params, "sandbox", 1, 10, settings, Seeds(0, 0))
    known = {"right": Objective("math", "", verifier="math_answer")}
    found = evaluate_rewards.Answers(job, Judge(), known).picked("right", np.array([1.0, 0.0, 0.0]))  # type: ignore[arg-type]
    assert found is not None
    all_of = found["by_size"]["3"]
    assert (all_of["majority"]["value"], all_of["scorer"]["value"], found["n"]) == (1.0, 0.0, 3)
