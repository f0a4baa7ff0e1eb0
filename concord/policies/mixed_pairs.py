"""The pairs of single objectives and of random mixes, for methods that train on both."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from concord.objectives import Objective
from concord.policies.job import ROLLOUTS, PolicyJob
from concord.policies.mixes import Mixes, MixPlan, draw_mixes
from concord.policies.preference import (
    PreferenceParams,
    batch_size_problems,
    loss_weights,
    pairs_by_objective,
    trained_objectives,
)
from concord.stage import outputs
from concord.stage.paths import ANCHORS

if TYPE_CHECKING:
    from concord.policies.training_pairs import Pair


class MixedPairs(NamedTuple):
    """Pairs by group, for `concord.policies.preference.train`."""

    groups: dict[str, list[Pair]]
    """Group -> its pairs. A group is an objective, or the mixes of a domain."""
    shares: dict[str, float]
    """Group -> its share of each batch."""
    alpha: dict[str, float]
    """Group -> its loss weight."""


def mixed_pairs(job: PolicyJob, mixes: Mixes) -> MixedPairs:
    """Pairs by single objectives, and pairs by random mixes of the rewards of a domain."""
    groups = pairs_by_objective(job)
    alpha = loss_weights(job.params.alpha, sorted(groups))
    plan = MixPlan.of({name: job.objectives[name].domain for name in groups}, alpha, mixes)
    groups = {name: pairs for name, pairs in groups.items() if name in plan.alpha}
    return MixedPairs(groups | _pairs_of_mixes(job, mixes, plan), plan.shares, plan.alpha)


def _pairs_of_mixes(job: PolicyJob, mixes: Mixes, plan: MixPlan) -> dict[str, list[Pair]]:
    """Group -> pairs chosen by random mixes of the rewards of a domain."""
    from concord.policies import training_pairs as pairs
    from concord.rewards.vector.anchors import Anchors

    rollouts, anchors = outputs.read_table(ROLLOUTS), Anchors.load(ANCHORS)
    groups = {}
    for group, (domain, members) in plan.mixed.items():
        draws = partial(draw_mixes, mixes, len(members), seed=f"{job.seeds.data}-{group}")
        groups[group] = pairs.by_mix(rollouts, domain, members, anchors, job.params.min_gap, draws)
    return pairs.merge_groups(groups) if groups else {}


def mix_problems(
    params: PreferenceParams, mixes: Mixes | None, vector: Mapping[str, Objective]
) -> Iterator[str]:
    """Reports a batch size too small to hold a pair of every group that is trained."""
    trained = trained_objectives(params, sorted(vector))
    if mixes is None or not trained:
        return batch_size_problems(params, trained)
    domains = {name: vector[name].domain for name in trained}
    plan = MixPlan.of(domains, dict.fromkeys(trained, 1.0), mixes)
    needed = math.ceil(1 / min(plan.shares.values()) - 1e-9)
    return batch_size_problems(params, sorted(plan.shares), needed)
