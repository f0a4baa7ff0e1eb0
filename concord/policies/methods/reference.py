"""The reference policy: an unchanged copy of the SFT model, evaluated next to the others."""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from concord.policies.job import Method, PolicyJob, reads_nothing
from concord.stage import outputs
from concord.stage.params import FORBID
from concord.stage.paths import SFT

NO_TRAINING = "step,loss\n0,\n"
"""The training curve of a policy that is not trained: one step without a loss."""


@dataclass(frozen=True, config=FORBID, kw_only=True)
class ReferenceParams:
    """The reference policy has no parameters."""

    method: Literal["reference"]


def run(job: PolicyJob) -> None:
    """Copies the SFT model and writes a training curve without a loss."""
    import shutil

    with outputs.directory(job.folder) as folder:
        shutil.copytree(SFT, folder, dirs_exist_ok=True)
    outputs.write_text(job.curve, NO_TRAINING)


METHOD = Method(ReferenceParams, heads=False, pairs=False, rewards=reads_nothing)
