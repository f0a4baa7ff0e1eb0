"""MAH-DPO (MAHALO, arXiv 2510.01167): one action head per objective, trained on its own pairs.

With `mixes`, a part of each batch is trained as mixes of the objectives, as the policy is used: a
random mix of the rewards of a prompt's domain chooses the pair, and the same mix of the heads
learns from it. Without `mixes`, this is the published method. With `conflict`, the objectives'
gradients on the backbone are combined so that no objective loses.

Writes a `MultiHeadCausalLM`. Its `merge` method turns the heads into a stock checkpoint for given
weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.objectives import Objective
from concord.policies.gradient_conflict import Aggregator, GradientConflict
from concord.policies.job import ROLLOUTS, Method, PolicyJob, save
from concord.policies.mixes import Mixes, MixPlan, draw_mixes
from concord.policies.preference import (
    PreferenceParams,
    batch_size_problems,
    loss_weights,
    pairs_by_objective,
    train,
    trained_objectives,
)
from concord.stage import outputs
from concord.stage.params import FORBID
from concord.stage.paths import ANCHORS

if TYPE_CHECKING:
    from concord.policies.training_pairs import Pair


@dataclass(frozen=True, config=FORBID, kw_only=True)
class MahDpoParams(PreferenceParams):
    """The parameters that all preference methods share, the mixes, and gradient conflict."""

    method: Literal["mah_dpo"]
    mixes: Mixes | None = None
    """Also trains on random mixes of the objectives; null: on single objectives only."""
    conflict: Aggregator | None = None
    """Combines the objectives' gradients on the shared backbone so that no objective's loss rises
    to first order: `upgrad` (arXiv 2406.16232) or `mgda`, from torchjd. It takes a backward pass
    and the memory of a gradient per objective in each step. null: their sum, as published."""
    cosines_every: Annotated[int, Field(ge=1)] | None = None
    """Steps between measurements of gradient conflict: the cosines between the objectives'
    gradients on the shared backbone. `conflict` measures them in every step. null: not measured."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mixes is not None and self.pairs == "annotations":
            raise ValueError(
                "`mixes` combines the rewards of rollouts, and annotated pairs have none; "
                "use `pairs: rollouts` or `pairs: both`"
            )
        if self.heads_only and self.follows_gradients:
            raise ValueError(
                "`conflict` and `cosines_every` act on the backbone, and `heads_only` freezes it; "
                "remove `heads_only`, or both of them"
            )
        if self.conflict is not None and self.cosines_every is not None:
            raise ValueError(
                "`conflict` measures the cosines in every step; remove `cosines_every`"
            )
        if self.conflict == "mgda" and self.alpha:
            raise ValueError(
                "`conflict: mgda` weights the gradients itself, those with a small `alpha` most; "
                "remove `alpha`, or use `conflict: upgrad`"
            )

    @property
    def follows_gradients(self) -> bool:
        """Whether the gradients of the objectives are needed one by one."""
        return self.conflict is not None or self.cosines_every is not None


def run(job: PolicyJob) -> None:
    """Trains and saves the policy."""
    names = job.vector
    heads = {name: head for head, name in enumerate(names)}
    conflict = gradient_conflict(job.params)
    groups = pairs_by_objective(job)
    if job.params.mixes is None:
        save(train(job, groups, heads, names, __file__, conflict=conflict), job)
        return
    alpha = loss_weights(job.params.alpha, sorted(groups))
    plan = MixPlan.of(
        {name: job.objectives[name].domain for name in groups}, alpha, job.params.mixes
    )
    groups = {name: pairs for name, pairs in groups.items() if name in plan.alpha}
    groups |= mixed_pairs(job, job.params.mixes, plan)
    save(train(job, groups, heads, names, __file__, plan.shares, plan.alpha, conflict), job)


def gradient_conflict(params: MahDpoParams) -> GradientConflict | None:
    """What follows the gradients of the objectives, if they are needed."""
    if not params.follows_gradients:
        return None
    micro_batches = params.training.batch_size // params.training.micro
    return GradientConflict(params.conflict, params.cosines_every or 1, micro_batches)


def mixed_pairs(job: PolicyJob, mixes: Mixes, plan: MixPlan) -> dict[str, list[Pair]]:
    """Group -> pairs chosen by random mixes of the rewards of a domain."""
    from concord.policies import training_pairs as pairs
    from concord.rewards.vector.anchors import Anchors

    rollouts, anchors = outputs.read_table(ROLLOUTS), Anchors.load(ANCHORS)
    groups = {}
    for group, (domain, members) in plan.mixed.items():
        draws = partial(draw_mixes, mixes, len(members), seed=f"{job.seeds.data}-{group}")
        groups[group] = pairs.by_mix(rollouts, domain, members, anchors, job.params.min_gap, draws)
    return pairs.merge_groups(groups) if groups else {}


def problems(params: MahDpoParams, vector: Mapping[str, Objective]) -> Iterator[str]:
    """Reports too few objectives for a conflict, and a batch too small for all groups."""
    trained = trained_objectives(params, sorted(vector))
    if params.follows_gradients and len(trained) < 2:
        yield (
            f"alpha: only {trained} is trained, and `conflict` and `cosines_every` compare "
            "objectives; train two or more, or remove them"
        )
    yield from _batch_size_problems(params, trained, vector)


def _batch_size_problems(
    params: MahDpoParams, trained: list[str], vector: Mapping[str, Objective]
) -> Iterator[str]:
    if params.mixes is None or not trained:
        return batch_size_problems(params, trained)
    domains = {name: vector[name].domain for name in trained}
    plan = MixPlan.of(domains, dict.fromkeys(trained, 1.0), params.mixes)
    needed = math.ceil(1 / min(plan.shares.values()) - 1e-9)
    return batch_size_problems(params, sorted(plan.shares), needed)


METHOD = Method(MahDpoParams, heads=True, pairs=True, problems=problems)
