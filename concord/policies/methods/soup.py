"""Rewarded soups (Ramé et al., arXiv 2306.04488): one DPO policy per objective, mixed parameters.

At inference, the parameters of the specialists are mixed linearly with the weights. The result is a
stock checkpoint of the SFT model's class. Adapters are merged into the weights before mixing:
mixing the factors of low-rank updates would not mix the updates.

See `concord/policies/specialist_training.py` for how the budget compares with that of `mah_dpo`.
"""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from concord.policies.job import Method, PolicyJob
from concord.policies.specialist_training import SpecialistParams, run_specialists
from concord.stage.params import FORBID


@dataclass(frozen=True, config=FORBID, kw_only=True)
class SoupParams(SpecialistParams):
    """The parameters that all preference methods share. `steps` and `batch_size` count for each
    specialist."""

    method: Literal["soup"]


def run(job: PolicyJob) -> None:
    """Trains the specialists and saves the policy."""
    run_specialists(job, "parameters", __file__)


METHOD = Method(SoupParams, heads=True, pairs=True)
