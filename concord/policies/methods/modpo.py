"""MODPO (Zhou et al., arXiv 2310.03708): DPO on one objective, with the others as a margin.

Of each domain, the pairs of the objective `k` with the largest weight are used. Their loss is
(equation 8)

    -log sigmoid((beta * delta - sum_{j != k} w_j (r_j(chosen) - r_j(rejected))) / w_k)

where `delta` is the log-probability ratio to the SFT model and `r_j` the anchored reward. The
divisor has a lower bound: otherwise the gradient grows without limit as `w_k` goes to 0.

Writes a stock checkpoint of the SFT model's class, for the given weights alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.objectives import domain_weights
from concord.policies.job import Method, PolicyJob, save
from concord.policies.preference import train
from concord.policies.preference_settings import PreferenceParams
from concord.stage.params import FORBID

if TYPE_CHECKING:
    import pandas as pd

    from concord.policies.training_pairs import Pair
    from concord.rewards.vector.anchors import Anchors

HEAD = "policy"


@dataclass(frozen=True, config=FORBID, kw_only=True)
class ModpoParams(PreferenceParams):
    """The shared parameters, and the weights of the objectives."""

    method: Literal["modpo"]
    weights: dict[str, float]
    """Weight of each objective, normalised to sum to 1 within a domain. Missing objectives get
    weight 0."""
    smallest_divisor: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Lower bound of the weight that the loss is divided by."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pairs in ("annotations", "both"):
            raise ValueError(
                "the margin needs the scores of both responses, and annotated pairs have none; use "
                "`pairs: rollouts` or `pairs: ratings`"
            )
        if self.loss != "dpo":
            raise ValueError(f"the loss of MODPO has no {self.loss!r} form; remove `loss`")
        if self.alpha:
            raise ValueError("`alpha` weights single objectives; use `weights`")


def run(job: PolicyJob) -> None:
    """Trains the policy and saves it as a stock checkpoint."""
    from concord.policies import training_pairs as pairs
    from concord.policies.scored_answers import scored_answers

    answers, anchors = scored_answers(job)
    groups = {}
    for domain in sorted(set(answers["domain"])):
        weights = domain_weights(job.params.weights, job.objectives, domain, f"{job.where}.weights")
        rows = pairs.rows_of_domain(answers, domain)
        groups[domain] = pairs_with_margins(rows, weights, anchors, job.params)
    groups = pairs.merge_groups(groups)
    model = train(job, groups, dict.fromkeys(groups, 0), [HEAD], __file__)
    save(model.merge({HEAD: 1.0}), job)


def pairs_with_margins(
    rows: pd.DataFrame, weights: dict[str, float], anchors: Anchors, params: ModpoParams
) -> list[Pair]:
    """The pairs of the heaviest objective of a domain; ties go to the first name.

    The margin of a pair is in nats: what the other objectives lose by the pair, divided by `beta`.
    """
    from concord.policies.training_pairs import Pair, anchored_rewards, extremes

    names = sorted(weights)
    heaviest = max(names, key=lambda name: weights[name])
    rewards = anchored_rewards(rows, names, anchors)
    others = rewards @ [weights[name] if name != heaviest else 0.0 for name in names]
    sharpness = 1 / max(weights[heaviest], params.smallest_divisor)
    return [
        Pair(
            rows.iloc[best]["messages"],
            rows.iloc[best]["response"],
            rows.iloc[worst]["response"],
            margin=float(others[best] - others[worst]) / params.beta,
            sharpness=sharpness,
        )
        for best, worst in extremes(
            rows, rewards[:, names.index(heaviest)], params.min_gap, params.pairs_per_prompt
        )
    ]


METHOD = Method(ModpoParams, heads=False, pairs=True)
