"""MAH-DPO (MAHALO, arXiv 2510.01167): one action head per objective, trained on its own pairs.

Writes a `MultiHeadCausalLM`. Its `merge` method turns the heads into a stock checkpoint for given
weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic.dataclasses import dataclass

from concord.policies.job import Method, PolicyJob, save
from concord.policies.preference import (
    PreferenceParams,
    batch_size_problems,
    pairs_by_objective,
    train,
    trained_objectives,
)
from concord.stage.params import FORBID


@dataclass(frozen=True, config=FORBID, kw_only=True)
class MahDpoParams(PreferenceParams):
    """Only the parameters that all preference methods share."""

    method: Literal["mah_dpo"]


def run(job: PolicyJob) -> None:
    """Trains and saves the policy."""
    names = job.vector
    heads = {name: head for head, name in enumerate(names)}
    save(train(job, pairs_by_objective(job), heads, names, __file__), job)


def problems(params: MahDpoParams, vector: Sequence[str]) -> Iterator[str]:
    """Reports a batch size too small to hold a pair of every trained objective."""
    return batch_size_problems(params, trained_objectives(params, vector))


METHOD = Method(MahDpoParams, heads=True, pairs=True, problems=problems)
