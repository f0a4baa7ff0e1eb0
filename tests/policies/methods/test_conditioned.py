"""A policy that reads its weights: the rollouts and weights it learns, and that it obeys them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from concord.lm.load import load_causal, load_tokenizer
from concord.lm.train import fit
from concord.policies import steerable
from concord.policies.job import ROLLOUTS
from concord.policies.methods import conditioned
from concord.rewards.vector.anchors import Anchors
from concord.stage import outputs
from concord.stage.paths import ANCHORS, SFT
from tests.policies.conftest import OBJECTIVES, TRAINING, MakeJob


def test_each_mix_has_its_best_rollout_and_its_text(project: Path) -> None:
    """By hand: `right` is 1 for sample 1 alone, `vivid` counts the letter a (in tens)."""
    rollouts = outputs.read_table(ROLLOUTS)
    rows = rollouts[rollouts["domain"] == "math"]
    rows = rows.assign(finished=rows["sample"] != 3)
    mixes = np.array([[1.0, 0.0], [0.75, 0.25]])
    best = conditioned.best_by_mix(rows, ["right", "vivid"], Anchors.load(ANCHORS), lambda _: mixes)
    expected = [{"right": 1.0, "vivid": 0.0}, {"right": 0.75, "vivid": 0.25}]
    assert best["weights"].tolist() == expected * 6
    assert best["sample"].tolist()[::2] == [1] * 6
    for (_, members), chosen in zip(rows.groupby("prompt_id"), best["sample"][1::2], strict=True):
        scores = 0.75 * (members["sample"] == 1) + 0.25 * members["response"].str.count("a")
        assert chosen == members["sample"][scores[members["finished"]].idxmax()]


def test_batches_have_the_shares_of_mixes(
    project: Path, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a batch of 8 is single objectives, one of each; the rest, two mixes per domain."""
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(conditioned, "fit", lambda model, rows, *_, **__: seen.extend(rows))
    conditioned.run(make_job(method="conditioned", training={**TRAINING, "batch_size": 8}))
    decode = load_tokenizer(SFT).decode
    assert len(seen) == 8 * TRAINING["steps"]
    for start in range(0, len(seen), 8):
        batch = seen[start : start + 8]
        texts = ["".join(map(decode, row["ids"][:4])) for row in batch]
        assert texts[:2] + texts[6:] == ["9000", "0900", "0090", "0009"]
        assert [text[:2] == "00" for text in texts[2:6]] == [True, True, False, False]
        assert [text[2:] == "00" for text in texts[2:6]] == [False, False, True, True]
        assert [row["weight"] for row in batch] == pytest.approx([1 / 8] * 8)


def test_the_text_at_inference_is_that_of_training(
    project: Path, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stock checkpoint with every parameter trained, which reads the objectives of the vector."""
    seen: list[dict[str, Any]] = []

    def recording(model: Any, rows: Any, *arguments: Any, **options: Any) -> None:
        seen.extend(rows)
        fit(model, rows, *arguments, **options)

    monkeypatch.setattr(conditioned, "fit", recording)
    job = make_job(method="conditioned", mixes={"corners": 1.0})
    conditioned.run(job)
    before, after = load_causal(SFT), load_causal(job.folder)
    assert type(after) is type(before)
    pairs = zip(before.parameters(), after.parameters(), strict=True)
    assert not any(torch.equal(*pair) for pair in pairs)
    policy = steerable.load(job.folder)
    assert policy.head_names == ["helpful", "honest", "right", "vivid"]
    for name in policy.head_names:
        prefix = policy.merge({**dict.fromkeys(policy.head_names, 0.0), name: 1.0}).prefix.tolist()
        assert any(row["ids"][: len(prefix)] == prefix for row in seen)


def test_a_batch_must_hold_every_group(make_job: MakeJob) -> None:
    vector = {name: objective for name, objective in OBJECTIVES.items() if objective.in_vector}
    job = make_job(method="conditioned")
    problems = list(conditioned.METHOD.problems(job.params, vector))
    assert "a batch of 6 rows cannot hold one row of each of 6 groups" in problems[0]
    assert "raise it to 8 or more" in problems[0]
