"""A policy that reads the weights in its prompt (DPA, Wang et al., arXiv 2402.18571).

As in DPA, the SFT model is fine-tuned on the rollout of a prompt that is best at given weights,
with these weights as text in front of the prompt: one round of rejection sampling. The weights are
those that `mah_dpo` trains with `mixes`, in the same shares of a batch: single objectives, and
random mixes of the objectives of the prompt's domain. RiC (Yang et al., arXiv 2402.10207) writes
the rewards of the response there instead.

Writes a stock checkpoint of the SFT model's class. `concord/policies/weights_in_prompt.py` adds the
text at inference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.lm.chat import Messages, encode
from concord.lm.demonstrations import collate, loss
from concord.lm.load import load_causal, load_tokenizer
from concord.lm.lora import Lora, attach, merge
from concord.lm.train import Row, Training, fit
from concord.objectives import Objective
from concord.policies.job import ROLLOUTS, Method, PolicyJob, save
from concord.policies.mixes import Mixes, MixPlan, draw_mixes
from concord.policies.preference import epochs_to_steps
from concord.policies.preference_settings import batch_size_problems
from concord.stage import outputs, resume, runtime
from concord.stage.params import FORBID
from concord.stage.paths import ANCHORS, SFT

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from concord.lm.types import Tokenizer
    from concord.rewards.vector.anchors import Anchors


@dataclass(frozen=True, config=FORBID, kw_only=True)
class ConditionedParams:
    """The weights that are trained, and settings of fine-tuning."""

    method: Literal["conditioned"]
    training: Training = Training(learning_rate=1e-4, steps=75, batch_size=42, micro_batch=7)
    """Optimisation settings. A row of a batch is a prompt with weights and its best rollout."""
    mixes: Mixes = Field(default_factory=Mixes)
    """The weights that are trained: random mixes, and single objectives."""
    lora: Lora | None = None
    """Trains low-rank adapters instead of all weights; merged after training."""


def run(job: PolicyJob) -> None:
    """Trains the policy and saves it as a stock checkpoint that names the objectives it reads."""
    from concord.policies.balanced_batches import balance
    from concord.policies.weights_in_prompt import OBJECTIVES

    params: ConditionedParams = job.params
    device = runtime.start(job.runtime, job.seeds.data)
    model, tokenizer = load_causal(SFT, device), load_tokenizer(SFT)
    if params.lora is not None:
        attach(model, params.lora, job.seeds.data)
    plan = plan_of(params, {name: job.objectives[name] for name in job.vector})
    groups = rows_by_group(job, plan, tokenizer)
    training, steps = epochs_to_steps(params.training, sum(map(len, groups.values())))
    fit(
        model,
        balance(
            groups,
            plan.alpha,
            steps=steps,
            batch_size=training.batch_size,
            seed=job.seeds.data,
            shares=plan.shares,
        ),
        lambda rows: collate(rows, tokenizer.pad_token_id),
        loss,
        training,
        seed=job.seeds.data,
        work=resume.folder(job.stage, job, [SFT, ROLLOUTS, ANCHORS], __file__),
        curve=job.curve,
        order="given",
        length=lambda row: len(row["ids"]),
        dtype=job.runtime.dtype,
        label=f"policy {job.name}",
        report_to=job.runtime.report_to,
    )
    if params.lora is not None:
        merge(model)
    setattr(model.config, OBJECTIVES, job.vector)
    save(model, job)


def plan_of(params: ConditionedParams, vector: Mapping[str, Objective]) -> MixPlan:
    """The groups of rows: the objectives, and the mixes of each domain."""
    domains = {name: objective.domain for name, objective in vector.items()}
    return MixPlan.of(domains, dict.fromkeys(domains, 1 / len(domains)), params.mixes)


def rows_by_group(job: PolicyJob, plan: MixPlan, tokenizer: Tokenizer) -> dict[str, list[Row]]:
    """Group -> encoded rows: the weights, the prompt, and its best rollout at these weights."""
    from concord.policies.training_pairs import rows_of_domain
    from concord.policies.weights_in_prompt import weights_text
    from concord.rewards.vector.anchors import Anchors

    rollouts, anchors, groups = outputs.read_table(ROLLOUTS), Anchors.load(ANCHORS), {}
    mixes, seed = job.params.mixes, job.seeds.data
    draws: Callable[[str], np.ndarray]
    for group in plan.shares:
        if group in plan.mixed:
            domain, names = plan.mixed[group]
            draws = partial(draw_mixes, mixes, len(names), seed=f"{seed}-{group}")
        else:
            domain, names, draws = job.objectives[group].domain, [group], _alone
        best = best_by_mix(rows_of_domain(rollouts, domain), names, anchors, draws)
        texts = [weights_text(weights, job.vector) for weights in best["weights"]]
        groups[group] = [
            _encode(tokenizer, job.max_length, *row)
            for row in zip(texts, best["messages"], best["response"], strict=True)
        ]
    return groups


def best_by_mix(
    rows: pd.DataFrame,
    names: Sequence[str],
    anchors: Anchors,
    draws: Callable[[str], np.ndarray],
) -> pd.DataFrame:
    """The best finished sample of each prompt at each mix, with the mix in the column `weights`.

    Args:
        rows: rollouts of the domain of `names`.
        draws: prompt_id -> mixes `(mixes, objectives)` in the order of `names`.
    """
    import numpy as np

    from concord.policies.training_pairs import anchored_rewards

    rewards = anchored_rewards(rows, list(names), anchors)
    usable = rows["finished"].to_numpy(dtype=bool) & ~np.isnan(rewards).any(axis=1)
    positions, weights = [], []
    for prompt, index in sorted(rows[usable].groupby("prompt_id").indices.items()):
        members = np.flatnonzero(usable)[index]
        for mix in draws(str(prompt)):
            positions.append(int(members[(rewards[members] @ mix).argmax()]))
            weights.append(dict(zip(names, mix.tolist(), strict=True)))
    return rows.iloc[positions].assign(weights=np.array(weights, dtype=object))


def _alone(prompt: str) -> np.ndarray:
    """The mix of a group with one objective, `(1, 1)`."""
    import numpy as np

    return np.ones((1, 1))


def _encode(
    tokenizer: Tokenizer, max_length: int, weights: str, messages: Messages, response: str
) -> Row:
    """A row as those of `encode_rows`, with the text of the weights in front of the prompt."""
    prefix = list(tokenizer(weights, add_special_tokens=False)["input_ids"])
    ids, prompt = encode(tokenizer, messages, response, max_length - len(prefix))
    return {"ids": prefix + ids, "prompt": len(prefix) + prompt}


def problems(params: ConditionedParams, vector: Mapping[str, Objective]) -> Iterator[str]:
    """Reports a batch size too small to hold a row of every group."""
    if not vector:
        return iter(())
    shares = plan_of(params, vector).shares
    needed = math.ceil(1 / min(shares.values()) - 1e-9)
    return batch_size_problems(params, sorted(shares), needed)


METHOD = Method(ConditionedParams, heads=True, pairs=False, stock=False, problems=problems)
