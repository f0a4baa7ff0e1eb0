"""Best-of-N over candidate answers, which are sampled once for all scorers."""

import numpy as np
import pandas as pd
import pytest

from concord.evaluation.rewards.candidates import Candidates
from concord.objectives import Objective

KNOWN = {"right": Objective("math", "", verifier="math_answer")}


class Judge:
    """Three graded answers to one problem."""

    def __init__(self) -> None:
        self.calls = 0

    def graded(self, name: str, objective: Objective) -> pd.DataFrame:
        self.calls += 1
        responses = [rf"so \boxed{{{answer}}}" for answer in ("2", "0.75", r"\frac{3}{4}")]
        table = pd.DataFrame({"response": responses, "correct": [0.0, 1.0, 1.0]})
        return table.assign(problem=0, group_id="g", messages=[[]] * 3)


def _candidates(judge: Judge) -> Candidates:
    return Candidates(judge, KNOWN, bootstrap=10, seed=0)  # type: ignore[arg-type]


def test_best_of_n_uses_the_reader_of_the_verifier() -> None:
    """The majority (two of three, in different notation) is right; the scorer is wrong."""
    result = _candidates(Judge()).best_of_n("right", np.array([1.0, 0.0, 0.0]))
    assert result is not None
    all_of = result["by_size"]["3"]
    assert (all_of["majority"]["value"], all_of["scorer"]["value"], result["n"]) == (1.0, 0.0, 3)


def test_all_scorers_pick_from_the_same_candidates() -> None:
    judge = Judge()
    candidates = _candidates(judge)
    one = candidates.best_of_n("right", np.array([1.0, 0.0, 0.0]))
    two = candidates.best_of_n("right", np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0]))
    assert judge.calls == 1
    assert one is not None
    assert two is not None
    assert "outcome" not in one["by_size"]["3"]
    figures = two["by_size"]["3"]
    assert (figures["scorer"]["value"], figures["outcome"]["value"]) == (1.0, 0.0)


def test_no_problem_with_several_answers_gives_no_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Judge, "graded", lambda *_: pd.DataFrame())
    assert _candidates(Judge()).best_of_n("right", np.zeros(0)) is None
