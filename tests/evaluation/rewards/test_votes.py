"""Answers vote together if the verifier reads them as equal."""

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


def test_equal_values_vote_together() -> None:
    """The vote has the name of its first answer; a box may contain braces."""
    result = ballots("math_answer", [*boxed("2", "0.75", r"\frac{3}{4}"), "I give up", r"\boxed{}"])
    assert result == ["2", "0.75", "0.75", None, None]
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
def test_other_verifiers_have_other_readers(
    verifier: str, responses: list[str], expected: list[Any]
) -> None:
    assert ballots(verifier, responses) == expected


def test_the_baselines_use_the_reader_of_the_verifier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of three answers are 3/4 in different notation, which is the majority."""
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
    assert baselines.pick_baselines(graded, graded)["majority"].tolist() == [1.0, 2.0, 2.0]


def test_best_of_n_uses_the_reader_of_the_verifier() -> None:
    """The majority (two of three, in different notation) is right; the scorer is wrong."""
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
    result = evaluate_rewards.Answers(job, Judge(), known).best_of_n(
        "right", np.array([1.0, 0.0, 0.0])
    )  # type: ignore[arg-type]
    assert result is not None
    all_of = result["by_size"]["3"]
    assert (all_of["majority"]["value"], all_of["scorer"]["value"], result["n"]) == (1.0, 0.0, 3)
