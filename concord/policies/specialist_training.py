"""Training of one specialist per objective, shared by `soup` and `mod`.

A specialist is the SFT model trained by DPO on the pairs of its objective alone, which are those
that `mah_dpo` gives to the head of the objective. `steps` and `batch_size` count for each
specialist. With the same `training`, the specialists together therefore see as many times more
pairs than `mah_dpo` as there are objectives. To see the same number, divide `batch_size` by the
number of objectives.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from pydantic.dataclasses import dataclass

from concord.lm.load import load_causal
from concord.policies.job import PolicyJob, save
from concord.policies.pair_sources import input_files, pairs_by_objective
from concord.policies.preference import train
from concord.policies.preference_settings import PreferenceParams
from concord.stage import outputs, resume, runtime
from concord.stage.params import FORBID
from concord.stage.paths import SFT

if TYPE_CHECKING:
    from concord.policies.specialists import Mixing

CURVE = "curve.csv"


@dataclass(frozen=True, config=FORBID, kw_only=True)
class SpecialistParams(PreferenceParams):
    """The parameters that all preference methods share; `steps` and `batch_size` count for each
    specialist."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha:
            raise ValueError(
                "`alpha` weights the losses of objectives that train one model, and each specialist"
                " is a model of its own; remove `alpha`"
            )


def run_specialists(job: PolicyJob, mixing: Mixing, module_file: str) -> None:
    """Trains the specialists one after another and saves them as one policy.

    The training curve holds their curves one after another. A run that was killed resumes after the
    last specialist that was finished.
    """
    import pandas as pd

    from concord.policies.model import MultiHeadCausalLM
    from concord.policies.specialists import Specialists

    groups = pairs_by_objective(job)
    work = resume.folder(job.stage, [job, "specialists"], input_files(job.params), module_file)
    folders = {name: work / name for name in job.vector}
    for name, folder in folders.items():
        if folder.is_dir():
            print(f"the specialist of {name} is trained already")
            continue
        model = train(job, {name: groups[name]}, {name: 0}, [name], module_file)
        with outputs.directory(folder) as partial:
            model.merge({name: 1.0}).save_pretrained(partial)
            shutil.copyfile(job.curve, partial / CURVE)
    joined = pd.concat([pd.read_csv(folder / CURVE) for folder in folders.values()])
    joined["step"] = range(1, len(joined) + 1)
    outputs.write_text(job.curve, joined.to_csv(index=False))
    device = runtime.start(job.runtime, job.seeds.data)
    sft = MultiHeadCausalLM.from_sft(SFT, ["sft"], device=device).merge({"sft": 1.0})
    trained = {name: load_causal(folder, device) for name, folder in folders.items()}
    save(Specialists.of(sft, trained, mixing), job)
    shutil.rmtree(work)
