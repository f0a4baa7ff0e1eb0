"""MAH-DPO (MAHALO, arXiv 2510.01167): an action head per objective of the reward vector, each trained on its own pairs.

Writes a `MultiHeadCausalLM`, which `merge` turns into a stock checkpoint for any weights of the heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic.dataclasses import dataclass

from concord.policies.job import Method, PolicyJob, save
from concord.policies.preference import (
    PreferenceParams,
    learned,
    objective_pairs,
    small_batch,
    train,
)
from concord.stage.params import FORBID


@dataclass(frozen=True, config=FORBID, kw_only=True)
class MahDpoParams(PreferenceParams):
    """The shared parameters."""

    method: Literal["mah_dpo"]


def run(job: PolicyJob) -> None:
    """Trains the policy and writes it."""
    names = job.vector
    heads = {name: head for head, name in enumerate(names)}
    save(train(job, objective_pairs(job), heads, names, __file__), job)


def problems(params: MahDpoParams, vector: Sequence[str]) -> Iterator[str]:
    """Every batch holds a pair of every objective that is learned."""
    return small_batch(params, learned(params, vector))


METHOD = Method(MahDpoParams, heads=True, pairs=True, problems=problems)
