"""A policy that reads the weights in its prompt (RiC, arXiv 2402.10207; DPA, arXiv 2402.18571).

The pairs and the batches are those of `mah_dpo` with `mixes`: single objectives, and random mixes
of the objectives of the prompt's domain. There, the mix of the heads learns from the pair; here,
one head does, and the weights stand as text in front of the prompt. RiC and DPA fine-tune on
selected samples; here, the loss is that of the other methods. The reference model does not see the
weights.

Writes a stock checkpoint of the SFT model's class. `concord/policies/weights_in_prompt.py` adds the
text at inference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.objectives import Objective
from concord.policies.job import Method, PolicyJob, save
from concord.policies.mixed_pairs import mix_problems, mixed_pairs
from concord.policies.mixes import Mixes
from concord.policies.preference import PreferenceParams, train
from concord.stage.params import FORBID

if TYPE_CHECKING:
    from concord.policies.training_pairs import Pair

HEAD = "policy"


@dataclass(frozen=True, config=FORBID, kw_only=True)
class ConditionedParams(PreferenceParams):
    """The parameters that all preference methods share, and `mixes`."""

    method: Literal["conditioned"]
    mixes: Mixes = Field(default_factory=Mixes)
    """The weights that are trained: random mixes, and single objectives."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pairs == "annotations":
            raise ValueError(
                "`mixes` combines the rewards of rollouts, and annotated pairs have none; "
                "use `pairs: rollouts` or `pairs: both`"
            )


def run(job: PolicyJob) -> None:
    """Trains the policy and saves it as a stock checkpoint."""
    from concord.policies.weights_in_prompt import OBJECTIVES

    pairs = mixed_pairs(job, job.params.mixes)
    groups = {
        name: [with_weights(pair, {name: 1.0}) for pair in members]
        for name, members in pairs.groups.items()
    }
    heads = dict.fromkeys(groups, 0)
    model = train(job, groups, heads, [HEAD], __file__, pairs.shares, pairs.alpha)
    stock = model.merge({HEAD: 1.0})
    setattr(stock.config, OBJECTIVES, job.vector)
    save(stock, job)


def with_weights(pair: Pair, weights: Mapping[str, float]) -> Pair:
    """The pair with the weights in front of its prompt: its own, or else `weights`."""
    from concord.policies.weights_in_prompt import weights_text

    return dataclasses.replace(pair, weights=None, prefix=weights_text(pair.weights or weights))


def problems(params: ConditionedParams, vector: Mapping[str, Objective]) -> Iterator[str]:
    """Reports a batch size too small to hold a pair of every group that is trained."""
    return mix_problems(params, params.mixes, vector)


METHOD = Method(ConditionedParams, heads=True, pairs=True, stock=False, problems=problems)
