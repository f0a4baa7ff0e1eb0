"""The reference: the SFT model as it is, so that it is evaluated beside the others."""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from concord.policies.job import Method, PolicyJob
from concord.stage import outputs
from concord.stage.params import FORBID
from concord.stage.paths import SFT

NO_TRAINING = "step,loss\n0,\n"


@dataclass(frozen=True, config=FORBID, kw_only=True)
class ReferenceParams:
    """Nothing to choose."""

    method: Literal["reference"]


def run(job: PolicyJob) -> None:
    """Copies the SFT model; the curve has no loss, since nothing is trained."""
    import shutil

    with outputs.directory(job.folder) as folder:
        shutil.copytree(SFT, folder, dirs_exist_ok=True)
    outputs.write_text(job.curve, NO_TRAINING)


METHOD = Method(ReferenceParams, heads=False, pairs=False)
