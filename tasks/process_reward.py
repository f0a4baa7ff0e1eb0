"""Fit the process reward model: one model, a head per objective, on the labelled steps.

data/process_labels/{train,validation}.parquet, models/sft -> models/process_reward,
reports/timing/process_reward.json, reports/curves/process_reward.csv

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

from concord.lm.lora import Lora, attach, merge
from concord.lm.train import Training, fit
from concord.stage import outputs, resume, runtime
from concord.stage.errors import DataError, command
from concord.stage.params import FORBID, Runtime, load
from concord.stage.paths import CURVES, PROCESS_LABELS, PROCESS_REWARD, REPORTS, SFT

if TYPE_CHECKING:
    import pandas as pd

TABLES = [PROCESS_LABELS / f"{split}.parquet" for split in ("train", "validation")]
VALIDATION_ROWS = 128  # looked at while training


@dataclass(frozen=True, config=FORBID)
class Verdicts:
    """Two words of one token each, with which the base model would call a step good or bad."""

    good: str
    bad: str

    def __post_init__(self) -> None:
        if self.good == self.bad:
            raise ValueError(f"`good` and `bad` are both {self.good!r}; give two words")


@dataclass(frozen=True, config=FORBID)
class ProcessRewardParams:
    """The section `process_reward`."""

    training: Training
    """How it trains."""
    l2: Annotated[float, Field(gt=0)] = 10.0
    """Penalty of the linear fit on the frozen base from which heads start (`concord.rewards.process.process_start`)."""
    verdicts: dict[str, Verdicts] = field(default_factory=dict)
    """Objective -> the words from which its head starts in place of a linear fit: for a base model that has read steps
    with such marks."""
    lora: Lora | None = None
    """Low-rank adapters instead of all weights, merged when trained; the heads train in full."""


def run(params: ProcessRewardParams, settings: Runtime, seed: int, max_length: int) -> None:
    """Fits the model and writes it, its quality on validation labels, its timing and its curve."""
    from concord.rewards.process import process_model as process
    from concord.rewards.process import process_start
    from concord.rewards.process.process_quality import quality

    device = runtime.start(settings, seed)
    train, validation = (outputs.read_table(table) for table in TABLES)
    names = list(dict.fromkeys(train["objective"]))
    if not names:
        raise DataError(
            f"{TABLES[0]} has no labelled step, so there is nothing to fit; look at process_labels"
        )
    unknown = [name for name in params.verdicts if name not in names]
    if unknown:
        raise DataError(
            f"verdicts for {', '.join(unknown)}: no step is labelled for it; labelled are {', '.join(names)}"
        )
    work = resume.folder(
        "process_reward", [params, settings, seed, max_length], [*TABLES, SFT], __file__
    )
    started, resumed = time.perf_counter(), work.exists()
    tokenizer = _tokenizer(max_length)
    model = process.new_model(SFT, names, tokenizer, device, settings.dtype, seed)
    rows = _rows(train, names, tokenizer)
    words = {names.index(name): (own.good, own.bad) for name, own in params.verdicts.items()}
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


def _tokenizer(max_length: int) -> Any:
    from concord.lm.load import load_tokenizer

    tokenizer = load_tokenizer(SFT)
    tokenizer.model_max_length = max_length  # saved with the model: scoring cuts where training did
    return tokenizer


def _rows(frame: pd.DataFrame, names: list[str], tokenizer: Any) -> list[dict[str, Any]]:
    """Training rows: an answer that several objectives label is read once for all of them."""
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
        for own in answers.values()
        for row in training_rows(tokenizer, *own, tokenizer.model_max_length)
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
