"""Fits a process reward model to labelled steps: initialises its heads, then trains all weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from concord.lm.lora import Lora, attach, merge
from concord.lm.precision import autocast
from concord.lm.train import Training, fit
from concord.lm.types import Tokenizer
from concord.rewards.process import process_model as process
from concord.rewards.process import process_start
from concord.rewards.process.process_model import ProcessRewardModel, Row, StepLabels

VALIDATION_ROWS = 128  # evaluated during training


@dataclass(frozen=True)
class StepFitSettings:
    """Settings of `fit_steps`."""

    training: Training
    verdicts: Mapping[str, tuple[str, str]]
    """Objective -> words for a good and for a bad step, which initialise its head. The other heads
    are initialised with a linear fit."""
    l2: float
    """L2 penalty of the linear fit."""
    lora: Lora | None
    """Low-rank adapters to train instead of all weights of the backbone."""
    sft: Path
    """Folder of the SFT model."""
    seed: int
    dtype: str
    """Data type of the computations."""
    work: Path
    """Folder for checkpoints."""
    curve: Path
    """Path of the training curve."""
    report_to: Sequence[str] = ()
    """Services that logs are sent to."""


def fit_steps(
    reward: ProcessRewardModel,
    train: pd.DataFrame,
    validation: pd.DataFrame,
    settings: StepFitSettings,
) -> None:
    """Trains a new process reward model in place.

    `train` and `validation` are tables of steps. A part of the validation answers is evaluated
    during training.
    """
    model, tokenizer, names = reward.model, reward.tokenizer, reward.objectives
    rows = rows_of(train, names, tokenizer)
    words = {names.index(name): pair for name, pair in settings.verdicts.items()}
    process_start.from_words(model, words, settings.sft, tokenizer)
    with autocast(model.device, settings.dtype):
        process_start.from_labels(
            model, rows, set(range(len(names))) - set(words), settings.l2, tokenizer.pad_token_id
        )
    if settings.lora is not None:
        attach(model.base_model, settings.lora, settings.seed)
    every = len(validation) // VALIDATION_ROWS + 1
    watched = rows_of(validation.iloc[::every], names, tokenizer)
    collate = process.collate(tokenizer.pad_token_id)
    fit(
        model,
        rows,
        collate,
        process.loss,
        settings.training,
        seed=settings.seed,
        work=settings.work,
        curve=settings.curve,
        evaluate=lambda model: process.errors(model, watched, collate, names),
        weights=process.row_weights,
        length=lambda row: len(row["ids"]),
        dtype=settings.dtype,
        label="process reward model",
        report_to=settings.report_to,
    )
    if settings.lora is not None:
        merge(model.base_model)


class LabelledAnswer(NamedTuple):
    """A response with the step labels of all objectives."""

    group: str
    """The prompt or dialogue, which is never on both sides of a split."""
    messages: Any
    steps: Any
    labels: list[StepLabels]


def labelled_answers(frame: pd.DataFrame, names: Sequence[str]) -> list[LabelledAnswer]:
    """The responses with labels of the objectives `names`, which are in the order of the heads."""
    answers: dict[str, LabelledAnswer] = {}
    for entry in frame[frame["objective"].isin(list(names))].to_dict("records"):
        messages, steps = entry["messages"], entry["steps"]
        labels = StepLabels(
            names.index(entry["objective"]), entry["labels"], entry["label_kind"] == "hindsight"
        )
        answer = LabelledAnswer(str(entry.get("group_id")), messages, steps, [])
        answers.setdefault(json.dumps([messages, list(steps)]), answer).labels.append(labels)
    return list(answers.values())


def rows_of(frame: pd.DataFrame, names: Sequence[str], tokenizer: Tokenizer) -> list[Row]:
    """Training rows for the objectives `names`, which are in the order of the heads.

    An answer with labels of several objectives becomes a single row.
    """
    return [
        row
        for _, messages, steps, labels in labelled_answers(frame, names)
        for row in process.training_rows(
            tokenizer, messages, steps, labels, tokenizer.model_max_length
        )
    ]
