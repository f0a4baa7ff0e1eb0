"""MOD, decoding-time mixing (Shi et al., arXiv 2406.18853): one DPO policy per objective.

The specialists are trained as those of `soup`. At inference, every specialist with a nonzero weight
runs at each token, and their next-token log-probabilities are mixed:

    p(token) = softmax(sum_i w_i log p_i(token))

This costs as many times more than `soup` as there are objectives in use, and the policy has no
stock checkpoint, so it cannot be published.
"""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from concord.policies.job import Method, PolicyJob
from concord.policies.specialist_training import SpecialistParams, run_specialists
from concord.stage.params import FORBID


@dataclass(frozen=True, config=FORBID, kw_only=True)
class ModParams(SpecialistParams):
    """The parameters that all preference methods share. `steps` and `batch_size` count for each
    specialist."""

    method: Literal["mod"]


def run(job: PolicyJob) -> None:
    """Trains the specialists and saves the policy."""
    run_specialists(job, "probabilities", __file__)


METHOD = Method(ModParams, heads=True, pairs=True, stock=False)
