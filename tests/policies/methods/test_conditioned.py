"""A policy that reads its weights: its batches, its reference, and that it obeys the weights."""

from pathlib import Path
from typing import Any

import pytest

from concord.lm.load import load_causal, load_tokenizer
from concord.lm.sample import logprobs
from concord.policies import preference, steerable
from concord.policies.methods import conditioned, mah_dpo
from concord.policies.weights_in_prompt import weights_text
from concord.stage.errors import ParamsError
from concord.stage.paths import SFT
from tests.policies.conftest import OBJECTIVES, TRAINING, MakeJob

MIXES = {"corners": 0.5, "per_prompt": 2}


def test_it_learns_from_the_batches_of_mah_dpo(
    project: Path, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mix of the heads is written in front of both sides; the reference does not see it."""
    seen: list[list[dict[str, Any]]] = []
    monkeypatch.setattr(preference, "fit", lambda model, rows, *_, **__: seen.append(rows))
    entry = {"mixes": MIXES, "training": {**TRAINING, "batch_size": 8}, "min_gap": 0.0}
    job = make_job(method="conditioned", **entry)
    mah_dpo.run(make_job(method="mah_dpo", **entry))
    conditioned.run(job)
    tokenizer = load_tokenizer(SFT)
    for plain, row in zip(*seen, strict=True):
        text = weights_text(dict(zip(job.vector, plain["mix"], strict=True)))
        prefix = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        for side in ("chosen", "rejected"):
            ids, start = plain[side]
            assert row[side] == (prefix + ids, len(prefix) + start)
        assert row["mix"] == [1.0]
        assert (row["reference"], row["weight"]) == (plain["reference"], plain["weight"])
    assert len({tuple(row["prefix"]) for row in seen[1]}) > 4


def test_it_obeys_the_weights(project: Path, make_job: MakeJob) -> None:
    """helpful and honest are opposed: each corner prefers what its objective prefers."""
    two = {name: OBJECTIVES[name] for name in ("helpful", "honest")}
    training = {"learning_rate": 1e-2, "steps": 40, "batch_size": 6}
    job = make_job(method="conditioned", objectives=two, training=training, mixes={"corners": 1.0})
    conditioned.run(job)
    assert type(load_causal(job.folder)) is type(load_causal(SFT))
    policy, tokenizer = steerable.load(job.folder), load_tokenizer(job.folder)
    assert policy.head_names == ["helpful", "honest"]
    pairs = preference.pairs_by_objective(job)["honest"]
    for name, sign in (("honest", 1), ("helpful", -1)):
        model = policy.merge({**dict.fromkeys(two, 0.0), name: 1.0})
        chosen, rejected = (
            logprobs(
                model,
                tokenizer,
                [pair.messages for pair in pairs],
                [getattr(pair, side) for pair in pairs],
                max_length=128,
                per_token=True,
            )
            for side in ("chosen", "rejected")
        )
        assert ((chosen - rejected) * sign).mean() > 0.05


def test_weights_need_rewards(make_job: MakeJob) -> None:
    with pytest.raises(ParamsError, match="`mixes` combines the rewards of rollouts"):
        make_job(method="conditioned", pairs="annotations")
