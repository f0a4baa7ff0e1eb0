"""Answers vote together if the verifier reads them as equal."""

from typing import Any

import pandas as pd
import pytest

from concord.evaluation.rewards import baselines
from concord.evaluation.rewards.votes import ballots


def boxed(*answers: str) -> list[str]:
    return [rf"so \boxed{{{answer}}}" for answer in answers]


def test_equal_values_vote_together() -> None:
    """A vote is named after its first answer. A box may contain braces."""
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
def test_each_verifier_reads_final_answers_its_way(
    verifier: str, responses: list[str], expected: list[Any]
) -> None:
    assert ballots(verifier, responses) == expected


def test_the_baselines_use_the_reader_of_the_verifier(monkeypatch: pytest.MonkeyPatch) -> None:
    """The majority is 3/4: two of three answers, in different notation."""
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
