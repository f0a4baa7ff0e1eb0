"""Supervised fine-tuning on the best of K rollouts (RAFT, Dong et al., arXiv 2304.06767).

The weighted sum of the anchored rewards ranks the K rollouts of each prompt, and the SFT model is
fine-tuned on the best one: one round of expert iteration. With the `training` of `dpo`, a step sees
as many prompts, with one response each instead of two.

Writes a stock checkpoint of the SFT model's class, for the given weights alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic.dataclasses import dataclass

from concord.lm.demonstrations import collate, encode_rows, loss, token_shares
from concord.lm.load import load_causal, load_tokenizer
from concord.lm.lora import Lora, attach, merge
from concord.lm.train import Training, fit
from concord.policies.job import ROLLOUTS, Method, PolicyJob, save
from concord.stage import outputs, resume, runtime
from concord.stage.errors import DataError
from concord.stage.params import FORBID
from concord.stage.paths import ANCHORS, SFT

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True, config=FORBID, kw_only=True)
class BestOfKParams:
    """The weights that rank the rollouts, and settings of fine-tuning."""

    method: Literal["best_of_k"]
    weights: dict[str, float]
    """Weight of each objective's anchored reward, normalised to sum to 1 within a domain. Missing
    objectives get weight 0."""
    training: Training = Training(learning_rate=1e-4, steps=75, batch_size=42, micro_batch=7)
    """Optimisation settings. A row of a batch is a prompt with its best rollout."""
    lora: Lora | None = None
    """Trains low-rank adapters instead of all weights; merged after training."""


def run(job: PolicyJob) -> None:
    """Trains the policy and saves it as a stock checkpoint."""
    params: BestOfKParams = job.params
    device = runtime.start(job.runtime, job.seeds.data)
    model, tokenizer = load_causal(SFT, device), load_tokenizer(SFT)
    if params.lora is not None:
        attach(model, params.lora, job.seeds.data)
    fit(
        model,
        encode_rows(demonstrations(job), tokenizer, job.max_length),
        lambda rows: collate(rows, tokenizer.pad_token_id),
        loss,
        params.training,
        seed=job.seeds.data,
        work=resume.folder(job.stage, job, [SFT, ROLLOUTS, ANCHORS], __file__),
        curve=job.curve,
        weights=token_shares,
        length=lambda row: len(row["ids"]),
        dtype=job.runtime.dtype,
        label=f"policy {job.name}",
        report_to=job.runtime.report_to,
    )
    if params.lora is not None:
        merge(model)
    save(model, job)


def demonstrations(job: PolicyJob) -> pd.DataFrame:
    """The best rollout of each prompt. Raises DataError if there is none."""
    from concord.policies.training_pairs import weighted_reward
    from concord.rewards.vector.anchors import Anchors

    rollouts = outputs.read_table(ROLLOUTS)
    score = weighted_reward(
        job.params.weights, job.objectives, Anchors.load(ANCHORS), f"{job.where}.weights"
    )
    best = best_samples(rollouts, score(rollouts))
    if best.empty:
        raise DataError(
            f"{ROLLOUTS} has no finished rollout with a reward, so there is nothing to learn from; "
            "raise rollouts.prompts or rollouts.max_new_tokens"
        )
    return best


def best_samples(frame: pd.DataFrame, scores: np.ndarray) -> pd.DataFrame:
    """The row of the best sample of each prompt, sorted by prompt_id; ties go to the earlier one.

    Samples without a score, and samples that were cut off at the length limit, are ignored.

    Args:
        frame: samples with the columns prompt_id, sample and finished.
        scores: `(rows,)`.
    """
    usable = frame.assign(_score=scores)[frame["finished"].to_numpy(dtype=bool)].dropna(
        subset="_score"
    )
    ranked = usable.sort_values(
        ["prompt_id", "_score", "sample"], ascending=[True, False, True], kind="stable"
    )
    return ranked.drop_duplicates("prompt_id").drop(columns="_score")


METHOD = Method(BestOfKParams, heads=False, pairs=False)
