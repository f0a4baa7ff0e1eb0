"""DPO (Rafailov et al., arXiv 2305.18290) with a single head, the baseline of `mah_dpo`.

Exactly one parameter decides which response of a pair is chosen:

- `pool: true`: the pairs of all objectives, in the same batches as `mah_dpo`. The comparison with
  `mah_dpo` isolates the effect of the heads.
- `weights`: the weighted sum of the anchored rewards ranks the samples of a prompt.
- `reward`: a single objective, such as `overall`, ranks the samples. It need not be in the reward
  vector.

Writes a stock checkpoint of the SFT model's class. As with `mah_dpo`, the output matrix is not tied
to the input embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

from pydantic.dataclasses import dataclass

from concord.objectives import Objective
from concord.policies.job import ANNOTATED, Method, PolicyJob, save
from concord.policies.pair_sources import pairs_by_objective
from concord.policies.preference import train
from concord.policies.preference_settings import (
    PreferenceParams,
    batch_size_problems,
    trained_objectives,
)
from concord.stage import outputs
from concord.stage.params import FORBID

if TYPE_CHECKING:
    from concord.policies.training_pairs import Pair

HEAD = "policy"


@dataclass(frozen=True, config=FORBID, kw_only=True)
class DpoParams(PreferenceParams):
    """The shared parameters, and exactly one of `pool`, `weights` and `reward`."""

    method: Literal["dpo"]
    pool: bool = False
    """Whether to train on the same pairs as `mah_dpo`."""
    weights: dict[str, float] | None = None
    """Weight of each objective's anchored reward, normalised to sum to 1 within a domain. Missing
    objectives get weight 0."""
    reward: str | None = None
    """The objective whose reward ranks the samples of all prompts in its domain."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if sum([self.pool, self.weights is not None, self.reward is not None]) != 1:
            raise ValueError(
                "give exactly one of `pool: true`, `weights` and `reward`: "
                "it decides which response of a pair is better"
            )
        if self.alpha and not self.pool:
            raise ValueError(
                "`alpha` weights the objectives of a pool, and there is no pool; "
                "remove `alpha` or set `pool: true`"
            )
        if self.weights is not None and self.pairs in ("annotations", "both"):
            raise ValueError(
                "`weights` combines scores, and annotated pairs have none; use `pairs: rollouts` "
                "or `pairs: ratings`"
            )


def run(job: PolicyJob) -> None:
    """Trains the policy and saves it as a stock checkpoint."""
    groups = build_pairs(job)
    model = train(job, groups, dict.fromkeys(groups, 0), [HEAD], __file__)
    save(model.merge({HEAD: 1.0}), job)


def build_pairs(job: PolicyJob) -> dict[str, list[Pair]]:
    """Group -> training pairs. The groups are objectives for `pool`, domains otherwise.

    Annotated pairs of `reward` form a group named after the objective.
    """
    from concord.policies import training_pairs as pairs
    from concord.policies.scored_answers import scored_answers

    params: DpoParams = job.params
    if params.pool:
        return pairs_by_objective(job)
    parts = []
    if params.pairs != "annotations":
        answers, anchors = scored_answers(job)
        if params.weights is not None:
            score = pairs.weighted_reward(
                params.weights, job.objectives, anchors, f"{job.where}.weights"
            )
        else:
            answers = pairs.rows_of_domain(answers, job.objectives[str(params.reward)].domain)
            score = pairs.single_reward(str(params.reward), anchors)
        parts.append(pairs.by_domain(answers, score, params.min_gap, params.pairs_per_prompt))
    if params.pairs in ("annotations", "both"):
        parts.append(pairs.from_annotations(outputs.read_table(ANNOTATED), [str(params.reward)]))
    return pairs.merge_groups(*parts)


def problems(params: DpoParams, vector: Mapping[str, Objective]) -> Iterator[str]:
    """Reports a batch size too small to hold a pair of every objective of the pool."""
    return batch_size_problems(
        params, trained_objectives(params, list(vector)) if params.pool else []
    )


METHOD = Method(DpoParams, heads=False, pairs=True, problems=problems)
