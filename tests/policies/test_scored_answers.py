"""Answers that people rated, as the source of preference pairs."""

from pathlib import Path

import pandas as pd
import pytest

from concord.objectives import Objective
from concord.policies.methods import dpo, mah_dpo
from concord.policies.scored_answers import rated_answers
from concord.stage import outputs
from concord.stage.errors import DataError, ParamsError
from tests.policies.conftest import OBJECTIVES as OBJECTIVES_OF_VALUES
from tests.policies.conftest import MakeJob

OBJECTIVES = {
    "kind": Objective(domain="chat", description="", reward="chat"),
    "brief": Objective(domain="chat", description="", reward="chat"),
}
ASK, TELL = ([{"role": "user", "content": text}] for text in ("ask", "tell"))


def ratings(*rows: tuple[list[dict[str, str]], str, str, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["messages", "response", "objective", "rating"])


TABLE = ratings(
    (ASK, "A", "kind", 1.0),
    (ASK, "A", "kind", 0.5),
    (ASK, "A", "brief", 0.0),
    (ASK, "B", "kind", 0.25),
    (ASK, "B", "brief", 1.0),
    (TELL, "A", "kind", 0.0),
    (TELL, "C", "other", 1.0),
)


def test_an_answer_has_the_mean_of_its_ratings() -> None:
    answers, anchors = rated_answers(TABLE, OBJECTIVES, ["brief", "kind"])
    rows = {
        (row.messages[0]["content"], row.response): (row["raw.kind"], row["raw.brief"])
        for _, row in answers.iterrows()
    }
    assert rows["ask", "A"] == (0.75, 0.0)
    assert rows["ask", "B"] == (0.25, 1.0)
    assert rows["tell", "A"][0] == 0.0
    assert pd.isna(rows["tell", "A"][1])
    assert len(rows) == 3  # the objective `other` is not asked for
    assert sorted(answers["sample"]) == [0, 0, 1]
    assert anchors.anchors["brief"].mean == 0.5
    assert anchors.anchors["kind"].n == 3


def test_an_objective_without_ratings_is_an_error() -> None:
    with pytest.raises(DataError, match="no rating of brief; use `pairs: rollouts`"):
        rated_answers(TABLE[TABLE["objective"] == "kind"], OBJECTIVES, ["brief", "kind"])


def rated(names: list[str]) -> pd.DataFrame:
    """Two answers to each of four prompts; the first is better by the first objective only."""
    rows = [
        ([{"role": "user", "content": f"question {number}"}], answer, name, float(grade))
        for number in range(4)
        for answer, grades in {"yes": (1, 0), "no": (0, 1)}.items()
        for name, grade in zip(names, grades, strict=True)
    ]
    return ratings(*rows)


def test_mixes_and_weighted_sums_of_ratings_choose_pairs(project: Path, make_job: MakeJob) -> None:
    """At a weight above a half, the answer that is better by that objective wins."""
    names = ["helpful", "honest"]
    only = {name: OBJECTIVES_OF_VALUES[name] for name in names}
    outputs.write_table(Path("data/prepared/ratings/train.parquet"), rated(names))
    job = make_job(
        method="mah_dpo", pairs="ratings", mixes={"corners": 0.5}, min_gap=0.1, objectives=only
    )
    plan = mah_dpo.MixPlan.of(
        dict.fromkeys(names, "values"), dict.fromkeys(names, 0.5), job.params.mixes
    )
    mixed = mah_dpo.mixed_pairs(job, job.params.mixes, plan)["mix:values"]
    assert len(mixed) > 8
    for pair in mixed:
        assert pair.weights is not None
        assert pair.chosen == ("yes" if pair.weights[names[0]] > 0.5 else "no")
    weights = {names[0]: 0.9, names[1]: 0.1}
    job = make_job(method="dpo", pairs="ratings", weights=weights, objectives=only)
    assert {pair.chosen for pair in dpo.build_pairs(job)["values"]} == {"yes"}


def test_rounds_need_reward_models(make_job: MakeJob) -> None:
    with pytest.raises(ParamsError, match="`rounds` chooses pairs by reward models"):
        make_job(method="mah_dpo", pairs="ratings", rounds={"count": 1})
