"""Fits an outcome reward model to labels of all kinds, in one of two ways.

`finetune` trains the SFT model together with one head per objective. `fit_probe` fits linear heads
on the hidden states of the frozen SFT model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from concord.lm import fastest_dtype
from concord.lm.frozen import load_frozen
from concord.lm.lora import Lora, attach, merge
from concord.lm.precision import autocast
from concord.lm.trackers import TrainingLog
from concord.lm.train import Training, fit
from concord.lm.types import Tokenizer
from concord.rewards.outcome import head_fit, head_start
from concord.rewards.outcome.examples import Example, Scales
from concord.rewards.outcome.gradients import cosines
from concord.rewards.outcome.head_fit import LabelledModel, Thresholds
from concord.rewards.outcome.probe import Pooling, Probe
from concord.rewards.outcome.probe_fit import Features, Strength, fit_heads
from concord.rewards.outcome.regularisation import choose_for
from concord.rewards.outcome.reward_model import FinetunedRewardModel, new_model
from concord.rewards.outcome.validation_pairs import (
    Pair,
    Score,
    pair_accuracy,
    sides_by_objective,
)
from concord.stage import outputs

VALIDATION_PAIRS = 256  # evaluated during training
THRESHOLD_RATE = 1e-2
"""Peak learning rate of the grade thresholds, which are logits."""


@dataclass(frozen=True)
class OutcomeData:
    """What a reward model is fitted to and validated on."""

    names: list[str]
    """Objectives in the order of the heads."""
    tokenizer: Tokenizer
    examples: list[Example]
    """Training examples."""
    scales: Scales
    """Scales of the grades in the examples."""
    validation: list[Pair]
    """Validation pairs."""


@dataclass(frozen=True)
class Backbone:
    """The SFT model to start from."""

    path: Path
    device: Any
    dtype: str
    """Data type of the computations."""


@dataclass(frozen=True)
class FinetuneSettings:
    """Settings of `finetune`."""

    training: Training
    loss_weights: list[float]
    """Weight of each head in the loss."""
    lora: Lora | None
    """Low-rank adapters to train instead of all weights of the backbone."""
    l2: float
    """L2 penalty of the linear fit that initialises the heads."""
    seed: int
    work: Path
    """Folder for checkpoints."""
    curve: Path
    """Path of the training curve."""
    label: str
    """Description of the progress bar."""
    report_to: Sequence[str] = ()
    """Services that logs are sent to."""


@dataclass(frozen=True)
class ProbeSettings:
    """Settings of `fit_probe`."""

    layers: Sequence[int]
    """The layers to read, from 0 (embeddings) to the number of layers."""
    pooling: Sequence[Pooling]
    dtype: str
    """Data type of the frozen model; `auto` for the fastest (`concord.lm.fastest_dtype`)."""
    l2: float | None
    """L2 penalty on the weights of a head; None to choose it (`regularisation`)."""
    cache: Path
    """Folder for the features of the frozen model."""
    folder: Path
    """Final folder of the model; the path of the backbone is saved relative to it."""
    curve: Path
    """Path of the training curve."""
    label: str = "reward model"
    """Name of the run where logs are sent."""
    report_to: Sequence[str] = ()
    """Services that logs are sent to."""


class Fitted(NamedTuple):
    """A fitted model, ready to be saved."""

    save: Callable[[Path], Any]
    """Writes the model into a folder."""
    score: Score
    thresholds: Thresholds
    """Fitted grade thresholds of the annotators."""
    parameters: int
    """Number of parameters."""
    gradient_cosine: dict[str, dict[str, float]]
    """Cosine of the gradients of two objectives on the backbone, on validation pairs. Empty for
    probes and for single objectives."""
    regularisation: dict[str, Any] | None = None
    """Objective -> how the L2 penalty of its head was chosen; None if nothing was chosen."""


def finetune(data: OutcomeData, backbone: Backbone, settings: FinetuneSettings) -> Fitted:
    """Trains the backbone, the heads and the grade thresholds together."""
    names, tokenizer = data.names, data.tokenizer
    reward = FinetunedRewardModel(
        new_model(backbone.path, names, tokenizer, backbone.device, "float32", settings.seed),
        tokenizer,
    )
    model = LabelledModel(reward.model, Thresholds(data.scales).to(backbone.device))
    with autocast(backbone.device, backbone.dtype):
        head_start.initialise(model, tokenizer, data.examples, data.scales, names, settings.l2)
    if settings.lora is not None:
        attach(reward.model.base_model, settings.lora, settings.seed)
    watched = data.validation[:: len(data.validation) // VALIDATION_PAIRS + 1]
    fit(
        model,
        [{"example": example} for example in data.examples],
        head_fit.collate(tokenizer.pad_token_id, share_tokens=model.can_pack()),
        head_fit.loss,
        settings.training,
        seed=settings.seed,
        work=settings.work,
        curve=settings.curve,
        evaluate=lambda _: pair_accuracy(reward.score_ids, watched, names),
        weights=head_fit.row_weights(settings.loss_weights),
        length=head_fit.longest_answer,
        rates={"thresholds": THRESHOLD_RATE},
        dtype=backbone.dtype,
        label=settings.label,
        report_to=settings.report_to,
    )

    def save(folder: Path) -> None:
        reward.model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    if settings.lora is not None:
        merge(reward.model.base_model)
    gradient_cosine = (
        cosines(reward.model, sides_by_objective(watched, names), tokenizer.pad_token_id)
        if len(names) > 1
        else {}
    )
    return Fitted(
        save,
        reward.score_ids,
        model.thresholds,
        int(reward.model.num_parameters()),
        gradient_cosine,
    )


def fit_probe(data: OutcomeData, backbone: Backbone, settings: ProbeSettings) -> Fitted:
    """Fits linear heads and the grade thresholds on features of the frozen backbone."""
    answers = [sequence for example in data.examples for sequence in example.sequences]
    judged = [side for pair in data.validation for side in (pair.chosen, pair.rejected)]
    sequences = [*answers, *judged]
    dtype = fastest_dtype.choose(settings.dtype, backbone.path, backbone.device, sequences)
    frozen = load_frozen(backbone.path, settings.layers, backbone.device, dtype)
    probe = Probe(frozen, data.tokenizer, settings.layers, data.names, {}, settings.pooling)
    features = Features(probe, backbone.path, sequences, settings.cache)
    table, chosen = features.lookup(answers), None
    l2: Strength = settings.l2 or 0.0
    if settings.l2 is None:
        chosen = choose_for(table, data.examples, data.scales, data.names)
        print("\n".join(chosen.lines()))
        l2 = chosen.l2
    probe.heads, thresholds = fit_heads(table, data.examples, data.scales, len(data.names), l2)

    def score(sequences: list[list[int]]) -> np.ndarray:
        return probe.score_features(features.lookup(sequences))

    accuracy = pair_accuracy(score, data.validation, data.names)
    # A curve of a single step, because every reward model has a curve.
    log = TrainingLog(settings.report_to, settings.label, 1, frozen)
    log.log(1, accuracy)
    log.end()
    lines: list[list[Any]] = [["step", *accuracy], [1, *accuracy.values()]]
    outputs.write_text(settings.curve, "".join(",".join(map(str, line)) + "\n" for line in lines))
    return Fitted(
        lambda folder: probe.save(folder, backbone.path, settings.folder),
        score,
        thresholds,
        probe.heads["weight"].size + probe.heads["bias"].size,
        {},
        chosen.report() if chosen else None,
    )
