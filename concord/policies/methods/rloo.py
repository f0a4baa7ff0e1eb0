"""RLOO (arXiv 2402.14740) on the reward vector: REINFORCE with the other samples as the baseline.

The advantage of a sample is its combined reward minus the mean over the other samples of its
prompt. The loss is the mean over samples of -advantage times the log-probability of the sample.

It runs in the loop of `grpo`, not in TRL's RLOOTrainer, for two reasons. That trainer samples by
itself (it has no `rollout_func`), so a resumed training would not equal an uninterrupted one. And
it takes rewards, from which it computes advantages itself. The KL divergence from the SFT model is
therefore a term of the loss, as in `grpo`, and not subtracted from the reward, as in the paper. It
is summed over the tokens of a sample.

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
class RlooParams(OneHeadParams):
    """The settings that `grpo` and `rloo` share."""

    method: Literal["rloo"]
    aggregation: Literal["leave_one_out"] = "leave_one_out"
    """Always `leave_one_out`."""


def run(job: PolicyJob) -> None:
    """Trains the policy and saves it as a stock checkpoint."""
    run_stock(job, __file__, loss="luspo")


METHOD = Method(RlooParams, heads=False, pairs=False, problems=weight_problems)
