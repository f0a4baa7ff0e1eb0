"""MAH-DPO (MAHALO, arXiv 2510.01167): an action head per objective of the reward vector, each trained on its own pairs.

Writes a `MultiHeadCausalLM`, which `merge` turns into a stock checkpoint for any weights of the heads.
"""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from tasks.policies.job import Job, save
from tasks.policies.preference import PreferenceParams, objective_pairs, train
from tasks.stage.params import FORBID


@dataclass(frozen=True, config=FORBID, kw_only=True)
class Params(PreferenceParams):
    """The shared parameters."""

    method: Literal["mah_dpo"]


def run(job: Job) -> None:
    """Trains the policy and writes it."""
    names = job.vector
    heads = {name: head for head, name in enumerate(names)}
    save(train(job, objective_pairs(job), heads, names, __file__), job)
