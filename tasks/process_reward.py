"""Fits the process reward model on labelled steps: one model with a head per objective.

data/process_labels/{train,validation}.parquet, models/sft
-> models/process_reward, reports/timing/process_reward.json,
   reports/curves/process_reward.csv

python -m tasks.process_reward
"""

from __future__ import annotations

import resource
import time
from dataclasses import field
from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.lm.load import load_tokenizer
from concord.lm.lora import Lora
from concord.lm.train import Training
from concord.stage import outputs, resume, runtime
from concord.stage.errors import DataError, command
from concord.stage.params import FORBID, Runtime, load
from concord.stage.paths import CURVES, PROCESS_LABELS, PROCESS_REWARD, REPORTS, SFT

if TYPE_CHECKING:
    import pandas as pd

    from concord.lm.types import Tokenizer

TABLES = [PROCESS_LABELS / f"{split}.parquet" for split in ("train", "validation")]


@dataclass(frozen=True, config=FORBID)
class Verdicts:
    """The two words with which the base model marks a step as good or bad."""

    good: str
    """Word for a good step; must be a single token."""
    bad: str
    """Word for a bad step; must be a single token."""

    def __post_init__(self) -> None:
        if self.good == self.bad:
            raise ValueError(f"`good` and `bad` are both {self.good!r}; give two different words")


@dataclass(frozen=True, config=FORBID)
class ProcessRewardParams:
    """The section `process_reward`."""

    training: Training
    """Training settings. A row of a batch is one answer with all its step labels."""
    l2: Annotated[float, Field(gt=0)] = 10.0
    """L2 penalty of the linear fit on frozen states that initialises the heads."""
    verdicts: dict[str, Verdicts] = field(default_factory=dict)
    """Objective -> words that initialise its head instead of the linear fit. Use it if the base
    model has seen steps marked with these words."""
    lora: Lora | None = None
    """Low-rank adapters to train instead of all weights. They are merged after training. The heads
    are always trained in full."""


def run(params: ProcessRewardParams, settings: Runtime, seed: int, max_length: int) -> None:
    """Fits the model; writes the model, its validation metrics, timing and training curve."""
    from concord.rewards.process.process_fit import StepFitSettings, fit_steps
    from concord.rewards.process.process_model import ProcessRewardModel, new_model
    from concord.rewards.process.process_quality import quality

    device = runtime.start(settings, seed)
    train, validation = (outputs.read_table(table) for table in TABLES)
    names = _objectives(train, params)
    key = [params, settings, seed, max_length]
    work = resume.folder("process_reward", key, [*TABLES, SFT], __file__)
    started, resumed = time.perf_counter(), work.exists()
    tokenizer: Tokenizer = load_tokenizer(SFT)
    # Saved with the model: scoring truncates like training.
    tokenizer.model_max_length = max_length
    reward = ProcessRewardModel(
        new_model(SFT, names, tokenizer, device, "float32", seed), tokenizer
    )
    fit_settings = StepFitSettings(
        training=params.training,
        verdicts={name: (words.good, words.bad) for name, words in params.verdicts.items()},
        l2=params.l2,
        lora=params.lora,
        sft=SFT,
        seed=seed,
        dtype=settings.dtype,
        work=work,
        curve=CURVES / "process_reward.csv",
        report_to=settings.report_to,
    )
    fit_steps(reward, train, validation, fit_settings)
    with outputs.directory(PROCESS_REWARD) as folder:
        reward.model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    timing = {
        "seconds": time.perf_counter() - started,
        "resumed": resumed,
        "validation": quality(reward, train, validation),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "parameters": reward.model.num_parameters(),
    }
    outputs.write_json(REPORTS / "timing/process_reward.json", timing)


def _objectives(train: pd.DataFrame, params: ProcessRewardParams) -> list[str]:
    """The labelled objectives, in the order of the heads.

    Raises DataError if there are none, or if `verdicts` has another one.
    """
    names = list(dict.fromkeys(train["objective"]))
    if not names:
        raise DataError(
            f"{TABLES[0]} has no labelled steps, so no model can be fitted; "
            "check process_labels.objectives"
        )
    unknown = [name for name in params.verdicts if name not in names]
    if unknown:
        raise DataError(
            f"process_reward.verdicts: no steps are labelled for {', '.join(unknown)}; "
            f"allowed: {', '.join(names)}"
        )
    return names


def main() -> None:
    """Runs the stage."""
    settings = load(Runtime, "runtime")
    run(
        load(ProcessRewardParams, "process_reward"),
        settings,
        load(int, "seeds", "data"),
        load(int, "model", "max_length"),
    )


if __name__ == "__main__":
    command(main)
