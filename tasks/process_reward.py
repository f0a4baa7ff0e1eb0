"""Fits the process reward model on labelled steps: one model with a head per objective.

data/process_labels/{train,validation}.parquet, models/sft
-> models/process_reward, reports/timing/process_reward.json,
   reports/curves/process_reward.csv

python -m tasks.process_reward
"""

from __future__ import annotations

import json
import resource
import time
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.lm.load import load_tokenizer
from concord.lm.lora import Lora, attach, merge
from concord.lm.train import Training, fit
from concord.stage import outputs, resume, runtime
from concord.stage.errors import DataError, command
from concord.stage.params import FORBID, Runtime, load
from concord.stage.paths import CURVES, PROCESS_LABELS, PROCESS_REWARD, REPORTS, SFT

if TYPE_CHECKING:
    import pandas as pd

    from concord.lm.types import Tokenizer

TABLES = [PROCESS_LABELS / f"{split}.parquet" for split in ("train", "validation")]
VALIDATION_ROWS = 128  # evaluated during training


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
    from concord.rewards.process import process_model as process
    from concord.rewards.process import process_start
    from concord.rewards.process.process_quality import quality

    device = runtime.start(settings, seed)
    train, validation = (outputs.read_table(table) for table in TABLES)
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
    work = resume.folder(
        "process_reward", [params, settings, seed, max_length], [*TABLES, SFT], __file__
    )
    started, resumed = time.perf_counter(), work.exists()
    tokenizer = _tokenizer(max_length)
    model = process.new_model(SFT, names, tokenizer, device, settings.dtype, seed)
    rows = _rows(train, names, tokenizer)
    words = {
        names.index(name): (verdict.good, verdict.bad) for name, verdict in params.verdicts.items()
    }
    process_start.from_words(model, words, SFT, tokenizer)
    process_start.from_labels(
        model, rows, set(range(len(names))) - set(words), params.l2, tokenizer.pad_token_id
    )
    if params.lora is not None:
        attach(model.base_model, params.lora, seed)
    watched = _rows(validation.iloc[:: len(validation) // VALIDATION_ROWS + 1], names, tokenizer)
    collate = process.collate(tokenizer.pad_token_id)
    fit(
        model,
        rows,
        collate,
        process.loss,
        params.training,
        seed=seed,
        work=work,
        curve=CURVES / "process_reward.csv",
        evaluate=lambda model: process.errors(model, watched, collate, names),
        weights=process.row_weights,
        length=lambda row: len(row["ids"]),
        label="process reward model",
    )
    if params.lora is not None:
        merge(model.base_model)
    with outputs.directory(PROCESS_REWARD) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    seconds = time.perf_counter() - started
    figures = quality(process.ProcessRewardModel(model, tokenizer), train, validation)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    timing = {
        "seconds": seconds,
        "resumed": resumed,
        "peak_mb": peak_mb,
        "parameters": model.num_parameters(),
    }
    outputs.write_json(REPORTS / "timing/process_reward.json", {**timing, "validation": figures})


def _tokenizer(max_length: int) -> Tokenizer:

    tokenizer: Tokenizer = load_tokenizer(SFT)
    tokenizer.model_max_length = max_length  # saved with the model: scoring truncates like training
    return tokenizer


def _rows(frame: pd.DataFrame, names: list[str], tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """Training rows. An answer with labels of several objectives becomes a single row."""
    from concord.rewards.process.process_model import StepLabels, training_rows

    answers: dict[str, tuple[Any, Any, list[StepLabels]]] = {}
    for entry in frame[frame["objective"].isin(names)].to_dict("records"):
        messages, steps = entry["messages"], entry["steps"]
        labels = StepLabels(
            names.index(entry["objective"]), entry["labels"], entry["label_kind"] == "hindsight"
        )
        answers.setdefault(json.dumps([messages, list(steps)]), (messages, steps, []))[2].append(
            labels
        )
    return [
        row
        for answer in answers.values()
        for row in training_rows(tokenizer, *answer, tokenizer.model_max_length)
    ]


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
