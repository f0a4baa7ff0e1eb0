"""DPO (arXiv 2305.18290) with one head, on pairs by one of three judgements; the baselines of `mah_dpo`.

- `pool: true`: the pairs of all objectives, in exactly the batches of `mah_dpo`: what the heads alone change.
- `weights`: the weighted sum of the anchored rewards judges which sample is best.
- `reward`: one objective outside of the vector or in it, such as `overall`, judges.

Writes a stock checkpoint of the SFT model's class, its output matrix untied from the embedding, as `mah_dpo`'s are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic.dataclasses import dataclass

from concord.policies.job import ANNOTATED, ROLLOUTS, Method, PolicyJob, save
from concord.policies.preference import (
    PreferenceParams,
    learned,
    objective_pairs,
    small_batch,
    train,
)
from concord.stage import outputs
from concord.stage.params import FORBID
from concord.stage.paths import ANCHORS

if TYPE_CHECKING:
    from concord.policies.training_pairs import Pair

HEAD = "policy"


@dataclass(frozen=True, config=FORBID, kw_only=True)
class DpoParams(PreferenceParams):
    """The shared parameters and what judges: exactly one of `pool`, `weights` and `reward`."""

    method: Literal["dpo"]
    pool: bool = False
    """Whether the pairs are those of `mah_dpo`."""
    weights: dict[str, float] | None = None
    """Weight of each objective's anchored reward; within a domain made to sum to 1, an absent one counts 0."""
    reward: str | None = None
    """The one objective whose reward judges all prompts of its domain."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if sum([self.pool, self.weights is not None, self.reward is not None]) != 1:
            raise ValueError(
                "give exactly one of `pool: true`, `weights` and `reward`, which say what is better"
            )
        if self.alpha and not self.pool:
            raise ValueError(
                "`alpha` weighs the objectives of a pool; without `pool: true` there is one judgement"
            )
        if self.weights is not None and self.pairs != "rollouts":
            raise ValueError(
                "`weights` mix rewards, which annotated pairs do not have; use `pairs: rollouts`"
            )


def run(job: PolicyJob) -> None:
    """Trains the policy and writes it as a stock checkpoint."""
    groups = judged_pairs(job)
    model = train(job, groups, dict.fromkeys(groups, 0), [HEAD], __file__)
    save(model.merge({HEAD: 1.0}), job)


def judged_pairs(job: PolicyJob) -> dict[str, list[Pair]]:
    """Group -> pairs, by what judges."""
    from concord.policies import training_pairs as pairs
    from concord.rewards.vector.anchors import Anchors

    params: DpoParams = job.params
    if params.pool:
        return objective_pairs(job)
    parts = []
    if params.pairs != "annotations":
        rollouts, anchors = outputs.read_table(ROLLOUTS), Anchors.load(ANCHORS)
        if params.weights is not None:
            score = pairs.scalarised(
                params.weights, job.objectives, anchors, f"{job.where}.weights"
            )
        else:
            rollouts = pairs.of_domain(rollouts, job.objectives[str(params.reward)].domain)
            score = pairs.single(str(params.reward), anchors)
        parts.append(pairs.by_domain(rollouts, score, params.min_gap))
    if params.pairs != "rollouts":
        parts.append(pairs.annotated(outputs.read_table(ANNOTATED), [str(params.reward)]))
    return pairs.joined(*parts)


def problems(params: DpoParams, vector: Sequence[str]) -> Iterator[str]:
    """A batch of a pool holds a pair of every objective that is learned."""
    return small_batch(params, learned(params, vector) if params.pool else [])


METHOD = Method(DpoParams, heads=False, pairs=True, problems=problems)
