"""Pairs without conflict: which response replaces the chosen one, and that nothing else changes."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from concord.policies.methods import dpo, sipo
from concord.rewards.vector.anchors import Anchor, Anchors
from concord.stage.errors import DataError, ParamsError
from tests.policies.conftest import OBJECTIVES, MakeJob

ANCHORS = Anchors({name: Anchor(0.0, 1.0, 1, 9) for name in ("a", "b")})


def chosen_and_rejected(rewards: list[tuple[str, float, float, bool]]) -> list[tuple[str, str]]:
    """The pairs of the objective `a` on one prompt; the rows are response, a, b, finished."""
    frame = pd.DataFrame(rewards, columns=["response", "raw.a", "raw.b", "finished"])
    frame = frame.assign(prompt_id="p", sample=range(len(frame)), messages=[[]] * len(frame))
    pairs = sipo.pairs_without_conflict(frame, "a", ["b"], ANCHORS, 0.5)
    return [(pair.chosen, pair.rejected) for pair in pairs]


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ([("best", 3, 2, True), ("mid", 2, 5, True), ("worst", 0, 1, True)], [("best", "worst")]),
        ([("best", 3, 0, True), ("mid", 2, 1, True), ("worst", 0, 1, True)], [("mid", "worst")]),
        ([("best", 3, 0, True), ("mid", 2, 0, True), ("worst", 0, 1, True)], []),
        ([("best", 3, 0, True), ("mid", 0.4, 2, True), ("worst", 0, 1, True)], []),
        ([("best", 3, 0, True), ("mid", 2, 2, False), ("worst", 0, 1, True)], []),
    ],
    ids=["no conflict", "replaced", "all conflict", "smaller than min_gap", "cut off"],
)
def test_a_conflict_is_replaced_or_dropped(
    rewards: list[tuple[str, float, float, bool]],
    expected: list[tuple[str, str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert chosen_and_rejected(rewards) == expected
    conflicts = int(expected != [("best", "worst")])
    assert f"a: {conflicts} of 1 pairs conflict" in capsys.readouterr().out


def test_without_other_objectives_it_is_pooled_dpo(project: Path, make_job: MakeJob) -> None:
    """Bit for bit, with one objective in each domain."""
    two = {name: OBJECTIVES[name] for name in ("vivid", "honest")}
    jobs = (
        make_job(method="sipo", objectives=two),
        make_job(method="dpo", pool=True, objectives=two),
    )
    sipo.run(jobs[0])
    dpo.run(jobs[1])
    weights, expected = (load_file(job.folder / "model.safetensors") for job in jobs)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_opposed_objectives_leave_no_pairs(project: Path, make_job: MakeJob) -> None:
    with pytest.raises(DataError, match="better on helpful and not worse on honest; raise"):
        sipo.run(make_job(method="sipo"))


@pytest.mark.parametrize("pairs", ["annotations", "both"])
def test_annotated_pairs_have_no_rewards(make_job: MakeJob, pairs: Any) -> None:
    with pytest.raises(ParamsError, match="annotated pairs have none; use `pairs: rollouts`"):
        make_job(method="sipo", pairs=pairs)
