"""Under the protocol `judged`, the champion is judged by the judge of the candidate."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import pytest

from concord.evaluation.gates.gate_params import HypervolumeGate
from concord.evaluation.gates.quality_gates import Compared, hypervolume
from concord.evaluation.gates.same_judge import judged_alike
from concord.evaluation.gates.sides import Side, front_units
from concord.evaluation.policies.answer_judge import fitted
from concord.evaluation.policies.judge_params import JudgeParams
from concord.evaluation.policies.likelihood import Labels
from concord.objectives import Objective

OBJECTIVES = {
    "kind": Objective(domain="chat", description=""),
    "right": Objective(domain="chat", description="", verifier="exact_match"),
}
STARTS = {True: "Please see, it is", False: "It is"}
PARAMS = JudgeParams(folds=3)


def labels(questions: int, strength: float) -> Labels:
    """Two rated answers per question; what a kind answer is rated grows with `strength`."""
    rows = [
        {
            "messages": [{"role": "user", "content": f"question {number}"}],
            "group_id": f"g{number}",
            "response": f"{STARTS[kind]} {number}.",
            "objective": "kind",
            "rating": strength if kind else 0.0,
            "kind": "rating",
        }
        for number in range(questions)
        for kind in (True, False)
    ]
    empty = {name: [] for name in ("messages", "group_id", "chosen", "rejected", "objective")}
    return Labels(pd.DataFrame(rows), pd.DataFrame({**empty, "origin": []}))


def side(name: str, kind: list[bool], known: Labels) -> Side:
    """A model whose answers are kind or not, judged by what was known at its time."""
    samples = pd.DataFrame(
        {
            "messages": [[{"role": "user", "content": f"question {n}"}] for n in range(len(kind))],
            "group_id": [f"g{number}" for number in range(len(kind))],
            "prompt_id": [f"p{number}" for number in range(len(kind))],
            "domain": "chat",
            "split": "test",
            "point": "equal",
            "weights": "{}",
            "response": [f"{STARTS[one]} {number}." for number, one in enumerate(kind)],
            "gold.right": [float(number % 2) for number in range(len(kind))],
            "kl": 0.0,
            "length": 4.0,
        }
    )
    judge = fitted(known, samples, "chat", ["kind"], PARAMS.folds, None)
    samples["gold.kind"] = judge.scores(samples)["kind"]
    front = front_units(samples, {"chat": ["kind", "right"]})
    return Side(name, {"protocol": "judged", "judge": asdict(PARAMS)}, samples, front)


KIND = [number % 3 > 0 for number in range(24)]
OLD, NEW = labels(24, 0.5), labels(24, 1.0)


def alike(candidate: Side, champion: Side, known: Labels) -> Side:
    return judged_alike(candidate, champion, OBJECTIVES, known, None)


def test_equal_answers_are_judged_equally_whatever_the_champion_was_judged_by() -> None:
    candidate, champion = side("new", KIND, NEW), side("old", KIND, OLD)
    gap = (candidate.samples["gold.kind"] - champion.samples["gold.kind"]).mean()
    assert gap > 0.1  # only the judge differs
    before = champion.samples.copy()
    judged_again = alike(candidate, champion, NEW)
    np.testing.assert_allclose(judged_again.samples["gold.kind"], candidate.samples["gold.kind"])
    assert judged_again.samples["gold.right"].tolist() == champion.samples["gold.right"].tolist()
    pd.testing.assert_frame_equal(champion.samples, before)


def test_the_front_of_another_judge_is_not_compared() -> None:
    candidate = side("new", KIND, NEW)
    champion = alike(candidate, side("old", KIND, OLD), NEW)
    compared = Compared(candidate, champion, champion, OBJECTIVES)
    row = hypervolume(HypervolumeGate(), compared, 0.0)
    assert row.holds is None
    assert "another judge" in row.why


def test_the_same_judge_changes_nothing() -> None:
    candidate, champion = side("new", KIND, NEW), side("old", [not one for one in KIND], NEW)
    assert alike(candidate, champion, NEW) is champion


@pytest.mark.parametrize("where", ["candidate", "champion"])
def test_prompts_of_one_alone_are_left_out(where: str) -> None:
    more: dict[str, Any] = {"candidate": KIND, "champion": KIND} | {where: [*KIND, *KIND[:6]]}
    known = labels(30, 1.0)
    candidate = side("new", more["candidate"], known)
    champion = side("old", more["champion"], labels(30, 0.5))
    judged_again = alike(candidate, champion, known).samples.set_index("prompt_id")["gold.kind"]
    expected = candidate.samples.set_index("prompt_id")["gold.kind"][judged_again.index]
    assert len(judged_again) == len(KIND)
    np.testing.assert_allclose(judged_again, expected)
