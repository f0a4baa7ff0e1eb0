"""MAH-DPO (MAHALO, arXiv 2510.01167): one action head per objective, trained on its own pairs.

With `mixes`, a part of each batch is trained as mixes of the objectives, as the policy is used: a
random mix of the rewards of a prompt's domain chooses the pair, and the same mix of the heads
learns from it. Without `mixes`, this is the published method. With `conflict`, the objectives'
gradients on the backbone are combined so that no objective loses. With `rounds`, training continues
on samples of the policy itself (`concord.policies.rounds`).

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
from concord.policies.job import Method, PolicyJob, save
from concord.policies.mixes import PUBLISHED, Mixes, MixPlan, draw_mixes
from concord.policies.pair_sources import pairs_by_objective
from concord.policies.preference import train
from concord.policies.preference_settings import (
    PreferenceParams,
    batch_size_problems,
    loss_weights,
    trained_objectives,
)
from concord.policies.rounds import Rounds, round_problems, train_in_rounds
from concord.stage.params import FORBID

if TYPE_CHECKING:
    from concord.policies.training_pairs import Pair


@dataclass(frozen=True, config=FORBID, kw_only=True)
class MahDpoParams(PreferenceParams):
    """The parameters that all preference methods share, the mixes, gradient conflict, rounds."""

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
    rounds: Rounds | None = None
    """Divides the steps of `training` between the given pairs and rounds of on-policy pairs, which
    are chosen from samples of the policy itself; null: all steps on the given pairs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds is not None and (self.training.steps or math.inf) <= self.rounds.count:
            raise ValueError(
                f"`training.steps` {self.training.steps} cannot be divided between the first "
                f"training and {self.rounds.count} rounds; raise it, or lower `rounds.count`"
            )
        if self.mixes is not None and self.pairs == "annotations":
            raise ValueError(
                "`mixes` combines scores, and annotated pairs have none; use `pairs: rollouts`, "
                "`pairs: both` or `pairs: ratings`"
            )
        if self.rounds is not None and self.pairs == "ratings":
            raise ValueError(
                "`rounds` chooses pairs by reward models, whose scale is not that of ratings; use "
                "`pairs: rollouts`"
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
        if self.rounds is not None and self.follows_gradients:
            raise ValueError(
                "`conflict` and `cosines_every` follow one training, and `rounds` makes several; "
                "remove one of them"
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
    names, mixes = job.vector, job.params.mixes or PUBLISHED
    heads = {name: head for head, name in enumerate(names)}
    conflict = gradient_conflict(job.params)
    groups = pairs_by_objective(job)
    alpha = loss_weights(job.params.alpha, sorted(groups))
    plan = MixPlan.of({name: job.objectives[name].domain for name in groups}, alpha, mixes)
    groups = {name: pairs for name, pairs in groups.items() if name in plan.alpha}
    groups |= mixed_pairs(job, mixes, plan)
    if job.params.rounds is None:
        save(train(job, groups, heads, names, __file__, plan.shares, plan.alpha, conflict), job)
    else:
        train_in_rounds(job, groups, heads, plan, __file__)


def gradient_conflict(params: MahDpoParams) -> GradientConflict | None:
    """What follows the gradients of the objectives, if they are needed."""
    if not params.follows_gradients:
        return None
    micro_batches = params.training.batch_size // params.training.micro
    return GradientConflict(params.conflict, params.cosines_every or 1, micro_batches)


def mixed_pairs(job: PolicyJob, mixes: Mixes, plan: MixPlan) -> dict[str, list[Pair]]:
    """Group -> pairs chosen by random mixes of the rewards of a domain; none without mixes."""
    if not plan.mixed:
        return {}
    from concord.policies import training_pairs as pairs
    from concord.policies.scored_answers import scored_answers

    answers, anchors = scored_answers(job)
    groups = {}
    for group, (domain, members) in plan.mixed.items():
        draws = partial(draw_mixes, mixes, len(members), seed=f"{job.seeds.data}-{group}")
        groups[group] = pairs.by_mix(
            answers,
            domain,
            members,
            anchors,
            job.params.min_gap,
            draws,
            job.params.pairs_per_prompt,
        )
    return pairs.merge_groups(groups)


def problems(params: MahDpoParams, vector: Mapping[str, Objective]) -> Iterator[str]:
    """Reports too few objectives for a conflict, a batch too small to hold a pair of every group
    that is trained, and rounds with too few prompts."""
    trained = trained_objectives(params, sorted(vector))
    if params.follows_gradients and len(trained) < 2:
        yield (
            f"alpha: only {trained} is trained, and `conflict` and `cosines_every` compare "
            "objectives; train two or more, or remove them"
        )
    if not trained:
        return
    domains = {name: vector[name].domain for name in trained}
    plan = MixPlan.of(domains, dict.fromkeys(trained, 1.0), params.mixes or PUBLISHED)
    needed = math.ceil(1 / min(plan.shares.values()) - 1e-9)
    yield from batch_size_problems(params, sorted(plan.shares), needed)
    if params.rounds is not None:
        yield from round_problems(params.rounds, plan)


METHOD = Method(MahDpoParams, heads=True, pairs=True, problems=problems)
