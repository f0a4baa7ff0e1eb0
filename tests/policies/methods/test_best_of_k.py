"""Fine-tuning on the best of K: which rollouts are learned, and that they become more likely."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from concord.lm.load import load_causal, load_tokenizer
from concord.lm.sample import logprobs
from concord.policies.job import ROLLOUTS
from concord.policies.methods import best_of_k
from concord.stage import outputs
from concord.stage.errors import DataError
from concord.stage.paths import SFT
from tests.policies.conftest import MakeJob

WEIGHTS = {"vivid": 1.0, "right": 0.0, "helpful": 1.0, "honest": 0.0}


def test_the_best_finished_sample_of_each_prompt() -> None:
    """y: the best was cut off and one has no score. z: a tie goes to the earlier sample."""
    rows = [("y", 0, 1.0, True), ("y", 1, 9.0, False), ("y", 2, np.nan, True), ("y", 3, 2.0, True)]
    rows += [("z", 1, 5.0, True), ("z", 0, 5.0, True), ("x", 0, np.nan, True)]
    frame = pd.DataFrame(rows, columns=["prompt_id", "sample", "score", "finished"])
    best = best_of_k.best_samples(frame, frame["score"].to_numpy())
    assert best[["prompt_id", "sample"]].to_numpy().tolist() == [["y", 3], ["z", 0]]


def test_the_weights_rank_the_rollouts_of_their_domain(project: Path, make_job: MakeJob) -> None:
    """vivid counts the letter a, helpful counts it as a loss."""
    best = best_of_k.demonstrations(make_job(method="best_of_k", weights=WEIGHTS))
    rollouts = outputs.read_table(ROLLOUTS)
    letters = rollouts["response"].str.count("a").groupby(rollouts["prompt_id"])
    expected = letters.max().where(letters.max().index.str.startswith("math"), letters.min())
    chosen = best.set_index("prompt_id")["response"].str.count("a")
    assert chosen.to_dict() == expected.to_dict()


def test_the_best_rollouts_become_more_likely(project: Path, make_job: MakeJob) -> None:
    """The same bits if the other rollouts did not exist; every parameter is trained."""
    job = make_job(method="best_of_k", weights=WEIGHTS)
    best_of_k.run(job)
    before, after, tokenizer = load_causal(SFT), load_causal(job.folder), load_tokenizer(SFT)
    assert type(after) is type(before)
    best = best_of_k.demonstrations(job)
    one, two = (
        logprobs(model, tokenizer, best["messages"], best["response"], max_length=128).mean()
        for model in (before, after)
    )
    assert two > one + 1
    pairs = zip(before.parameters(), after.parameters(), strict=True)
    assert not any(torch.equal(*pair) for pair in pairs)
    outputs.write_table(ROLLOUTS, best)
    again = make_job("again", method="best_of_k", weights=WEIGHTS)
    best_of_k.run(again)
    weights, expected = (load_file(j.folder / "model.safetensors") for j in (again, job))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_nothing_to_learn_from(project: Path, make_job: MakeJob) -> None:
    outputs.write_table(ROLLOUTS, outputs.read_table(ROLLOUTS).assign(finished=False))
    with pytest.raises(DataError, match="no finished rollout with a reward"):
        best_of_k.run(make_job(method="best_of_k", weights=WEIGHTS))
