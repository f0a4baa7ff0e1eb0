"""Fits the process reward model on labelled steps: one model with a head per objective.

data/process_labels/{train,validation}.parquet, models/sft
-> models/process_reward, reports/timing/process_reward.json,
   reports/curves/process_reward.csv

python -m tasks.process_reward

A model of the architecture `probe` whose regularisation was chosen also has `regularisation.json`
in its folder. The states of the frozen model are cached in work/features/process_reward, so an edit
that does not affect them refits only the heads.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.lm.load import load_tokenizer
from concord.lm.lora import Lora
from concord.lm.train import Training
from concord.stage import outputs, resume, runtime
from concord.stage.command import command
from concord.stage.errors import DataError
from concord.stage.params import FORBID, Runtime, load
from concord.stage.paths import (
    CURVES,
    PROCESS_LABELS,
    PROCESS_REWARD,
    REGULARISATION,
    REPORTS,
    SFT,
    WORK,
)

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from concord.lm.types import Tokenizer
    from concord.rewards.process.process_model import ProcessRewardModel

CURVE = CURVES / "process_reward.csv"
FEATURES = WORK / "features/process_reward"
"""Cache folder for the states of a frozen model, kept between runs."""
START_L2 = 10.0
"""L2 penalty of the linear fit that initialises the heads of `finetune`."""
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

    training: Training | None = None
    """Training settings of `finetune`. A row of a batch is one answer with all its step labels."""
    architecture: Literal["finetune", "probe"] = "finetune"
    """`finetune`: train the SFT model and the heads. `probe`: fit linear heads on frozen hidden
    states at the ends of steps."""
    layers: tuple[int, ...] = ()
    """For `probe`: the layers to read, from 0 (embeddings) to the number of layers."""
    l2: Annotated[float, Field(gt=0)] | None = None
    """L2 penalty on the weights of a head. With null, a probe chooses it for each head on a fifth
    of the training groups (for standardised features), and the linear fit on frozen states that
    initialises the heads of `finetune` uses 10."""
    frozen_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """For `probe`: data type of the frozen model. `auto` is bfloat16 where a short measurement
    finds it clearly faster, else float32. It is saved with the heads, so scoring uses it too."""
    verdicts: dict[str, Verdicts] = field(default_factory=dict)
    """Objective -> words that initialise its head instead of the linear fit. Use it if the base
    model has seen steps marked with these words."""
    lora: Lora | None = None
    """Low-rank adapters to train instead of all weights. They are merged after training. The heads
    are always trained in full."""

    def __post_init__(self) -> None:
        if self.architecture == "finetune" and self.training is None:
            raise ValueError("`architecture: finetune` needs `training`; add it")
        if self.architecture == "finetune" and self.layers:
            raise ValueError("`layers` are read by `architecture: probe`; add it or remove them")
        if self.architecture == "probe":
            if not self.layers or len(set(self.layers)) < len(self.layers):
                raise ValueError(
                    f"`layers` is {list(self.layers)}, but `architecture: probe` needs one or more "
                    "layers to read, each once"
                )
            if self.lora is not None or self.verdicts:
                raise ValueError(
                    "`architecture: probe` does not train the backbone and fits its heads to "
                    "labels alone, so `lora` and `verdicts` have no effect; remove them"
                )


@dataclass(frozen=True, config=FORBID)
class ProcessRewardJob:
    """Everything that the fit depends on, apart from its input files."""

    params: ProcessRewardParams
    settings: Runtime
    seed: int
    max_length: int

    @property
    def work(self) -> Path:
        """Folder for checkpoints until the stage has finished."""
        key = [self.params, self.settings, self.seed, self.max_length]
        return resume.folder("process_reward", key, [*TABLES, SFT], __file__)


def run(params: ProcessRewardParams, settings: Runtime, seed: int, max_length: int) -> None:
    """Fits the model; writes the model, its validation metrics, timing and training curve."""
    from concord.rewards.process.process_quality import quality

    device = runtime.start(settings, seed)
    job = ProcessRewardJob(params, settings, seed, max_length)
    train, validation = (outputs.read_table(table) for table in TABLES)
    names = _objectives(train, params)
    started, resumed = time.perf_counter(), job.work.exists()
    tokenizer: Tokenizer = load_tokenizer(SFT)
    # Saved with the model: scoring truncates like training.
    tokenizer.model_max_length = max_length
    data = StepData(train, validation, names, tokenizer)
    frozen = params.architecture == "probe"
    fitted = _probe(job, data, device) if frozen else _finetuned(job, data, device)
    with outputs.directory(PROCESS_REWARD) as folder:
        fitted.save(folder)
    figures = quality(fitted.model, train, validation)
    if frozen:
        _write_curve(figures)
    timing = {
        "seconds": time.perf_counter() - started,
        "resumed": resumed,
        "validation": figures,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "parameters": fitted.parameters,
    }
    outputs.write_json(REPORTS / "timing/process_reward.json", timing)


class StepData(NamedTuple):
    """What the model is fitted to and validated on."""

    train: pd.DataFrame
    validation: pd.DataFrame
    names: list[str]
    """Objectives in the order of the heads."""
    tokenizer: Tokenizer


class Fitted(NamedTuple):
    """A fitted model, ready to be saved."""

    model: ProcessRewardModel
    save: Callable[[Path], Any]
    """Writes the model into a folder."""
    parameters: int
    """Number of parameters; of a probe, those of its heads."""


def _finetuned(job: ProcessRewardJob, data: StepData, device: torch.device) -> Fitted:
    """Trains a model with a head per objective."""
    from concord.rewards.process.process_fit import StepFitSettings, fit_steps
    from concord.rewards.process.process_model import ProcessRewardModel, new_model

    params, tokenizer = job.params, data.tokenizer
    assert params.training is not None
    reward = ProcessRewardModel(
        new_model(SFT, data.names, tokenizer, device, "float32", job.seed), tokenizer
    )
    fit_settings = StepFitSettings(
        training=params.training,
        verdicts={name: (words.good, words.bad) for name, words in params.verdicts.items()},
        l2=START_L2 if params.l2 is None else params.l2,
        lora=params.lora,
        sft=SFT,
        seed=job.seed,
        dtype=job.settings.dtype,
        work=job.work,
        curve=CURVE,
        report_to=job.settings.report_to,
    )
    fit_steps(reward, data.train, data.validation, fit_settings)

    def save(folder: Path) -> None:
        reward.model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    return Fitted(reward, save, reward.model.num_parameters())


def _probe(job: ProcessRewardJob, data: StepData, device: torch.device) -> Fitted:
    """Fits linear heads on the frozen model."""
    from concord.rewards.process.step_probe_fit import StepProbeSettings, fit_step_probe

    params = job.params
    settings = StepProbeSettings(
        layers=params.layers,
        dtype=params.frozen_dtype,
        l2=params.l2,
        backbone=SFT,
        device=device,
        cache=FEATURES,
    )
    reward, chosen = fit_step_probe(data.train, data.names, data.tokenizer, settings)

    def save(folder: Path) -> None:
        reward.save(folder, SFT, PROCESS_REWARD)
        if chosen is not None:
            outputs.write_json(folder / REGULARISATION, chosen.report())

    return Fitted(reward, save, sum(each.size for each in reward.heads.values()))


def _write_curve(figures: Mapping[str, Mapping[str, Any]]) -> None:
    """A curve of a single step, because every model has a curve: errors on validation labels."""
    errors = {f"validation_{name}": entry["rmse"] for name, entry in figures.items()}
    lines: list[list[Any]] = [["step", *errors], [1, *errors.values()]]
    outputs.write_text(CURVE, "".join(",".join(map(str, line)) + "\n" for line in lines))


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
