"""GRPO (arXiv 2402.03300) on the reward vector with TRL's trainer.

With the aggregation `normalize_then_sum`, each reward is normalised first, as in GDPO.

Writes a stock checkpoint of the SFT model's class, for the given weights alone.
"""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from concord.policies.job import Method, PolicyJob
from concord.policies.rl.online import run_stock
from concord.policies.rl.settings import OnlineParams
from concord.stage.params import FORBID


@dataclass(frozen=True, config=FORBID, kw_only=True)
class GrpoParams(OnlineParams):
    """The settings that all methods with online sampling share, and the weights."""

    method: Literal["grpo"]
    weights: dict[str, float]
    """Weight of each objective's anchored reward, normalised to sum to 1 within a domain. Missing
    objectives get weight 0."""


def run(job: PolicyJob) -> None:
    """Trains the policy and saves it as a stock checkpoint."""
    run_stock(job, __file__)


METHOD = Method(GrpoParams, heads=False, pairs=False)
