"""GRPO (arXiv 2402.03300) on the reward vector with TRL's trainer.

With the aggregation `normalize_then_sum`, each reward is normalised first, as in GDPO.

Writes a stock checkpoint of the SFT model's class, for the given weights alone.
"""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from concord.policies.job import Method, PolicyJob
from concord.policies.rl.online import run_stock
from concord.policies.rl.settings import OneHeadParams, weight_problems
from concord.stage.params import FORBID


@dataclass(frozen=True, config=FORBID, kw_only=True)
class GrpoParams(OneHeadParams):
    """The settings that `grpo` and `rloo` share."""

    method: Literal["grpo"]


def run(job: PolicyJob) -> None:
    """Trains the policy and saves it as a stock checkpoint."""
    run_stock(job, __file__)


METHOD = Method(GrpoParams, heads=False, pairs=False, problems=weight_problems)
