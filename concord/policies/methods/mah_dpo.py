"""MAH-DPO (MAHALO, arXiv 2510.01167): one action head per objective, trained on its own pairs.

With `mixes`, a part of each batch is trained as mixes of the objectives, as the policy is used: a
random mix of the rewards of a prompt's domain chooses the pair, and the same mix of the heads
learns from it. Without `mixes`, this is the published method.

Writes a `MultiHeadCausalLM`. Its `merge` method turns the heads into a stock checkpoint for given
weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic.dataclasses import dataclass

from concord.objectives import Objective
from concord.policies.job import Method, PolicyJob, save
from concord.policies.mixed_pairs import mix_problems, mixed_pairs
from concord.policies.mixes import Mixes
from concord.policies.preference import PreferenceParams, pairs_by_objective, train
from concord.stage.params import FORBID


@dataclass(frozen=True, config=FORBID, kw_only=True)
class MahDpoParams(PreferenceParams):
    """The parameters that all preference methods share, and `mixes`."""

    method: Literal["mah_dpo"]
    mixes: Mixes | None = None
    """Also trains on random mixes of the objectives; null: on single objectives only."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mixes is not None and self.pairs == "annotations":
            raise ValueError(
                "`mixes` combines the rewards of rollouts, and annotated pairs have none; "
                "use `pairs: rollouts` or `pairs: both`"
            )


def run(job: PolicyJob) -> None:
    """Trains and saves the policy."""
    names, mixes = job.vector, job.params.mixes
    heads = {name: head for head, name in enumerate(names)}
    if mixes is None:
        save(train(job, pairs_by_objective(job), heads, names, __file__), job)
    else:
        pairs = mixed_pairs(job, mixes)
        save(train(job, pairs.groups, heads, names, __file__, pairs.shares, pairs.alpha), job)


def problems(params: MahDpoParams, vector: Mapping[str, Objective]) -> Iterator[str]:
    """Reports a batch size too small to hold a pair of every group that is trained."""
    return mix_problems(params, params.mixes, vector)


METHOD = Method(MahDpoParams, heads=True, pairs=True, problems=problems)
