"""Fits the heads of a process reward model with frozen features to labelled steps.

A label y in [0, 1] is fitted with the cross-entropy -y log p - (1 - y) log(1 - p), whether it is a
verdict or a value: both have the mean label as their best score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from concord.lm import fastest_dtype
from concord.lm.frozen import load_frozen
from concord.lm.types import Tokenizer
from concord.rewards.outcome.examples import Scale, Scales
from concord.rewards.outcome.head_fit import LabelBatch, Thresholds
from concord.rewards.outcome.probe_fit import LinearFit, Strength, kept_features
from concord.rewards.outcome.regularisation import Choice, Part, choose
from concord.rewards.process.process_fit import labelled_answers
from concord.rewards.process.process_model import training_rows
from concord.rewards.process.step_probe import StepProbe, Window


@dataclass(frozen=True)
class StepProbeSettings:
    """Settings of `fit_step_probe`."""

    layers: Sequence[int]
    """The layers to read, from 0 (embeddings) to the number of layers."""
    dtype: str
    """Data type of the frozen model; `auto` for the fastest (`concord.lm.fastest_dtype`)."""
    l2: float | None
    """L2 penalty on the weights of a head; None to choose it."""
    backbone: Path
    """Folder of the frozen model."""
    device: Any
    cache: Path
    """Folder for the states of the frozen model."""


@dataclass(frozen=True)
class LabelledSteps:
    """Labels of steps, one entry per label, and the states of the steps."""

    states: np.ndarray
    """float32 `(steps, features)`."""
    step: np.ndarray
    """The row in `states` of each label."""
    head: np.ndarray
    """The index of the head of each label."""
    label: np.ndarray
    """In [0, 1]."""
    group: np.ndarray
    """The prompt or dialogue of each label."""

    def part(self, labels: np.ndarray) -> Part:
        """The states and the labels at some positions, as two grades of 1 and of 0 each.

        The grade of 1 weighs y and that of 0 weighs 1 - y.
        """
        steps, member = np.unique(self.step[labels], return_inverse=True)
        count = len(labels)
        head = torch.from_numpy(np.tile(self.head[labels], 2))
        weight = np.concatenate([self.label[labels], 1 - self.label[labels]])
        batch: LabelBatch = {
            "order_members": torch.zeros(0, 0, dtype=torch.long),
            "order_ranks": torch.zeros(0, 0),
            "order_margin": torch.zeros(0, 0),
            "order_head": torch.zeros(0, dtype=torch.long),
            "order_weight": torch.zeros(0),
            "grade_member": torch.from_numpy(np.tile(member, 2)),
            "grade_head": head,
            "grade_scale": head,
            "grade_level": torch.arange(2).flip(0).repeat_interleave(count),
            "grade_annotator": torch.zeros(2 * count, dtype=torch.long),
            "grade_weight": torch.from_numpy(weight).float(),
        }
        return self.states[steps], batch

    def scales(self, names: Sequence[str]) -> Scales:
        """A scale of 0 and 1 for each head."""
        ladders = {Scale(name, 0.0, 1.0): [0.0, 1.0] for name in names}
        shares = [float(self.label[self.head == head].mean()) for head in range(len(names))]
        return Scales(
            ladders, {scale: [share] for scale, share in zip(ladders, shares, strict=True)}
        )

    def choose(self, names: list[str]) -> Choice:
        """The L2 penalty of each head, chosen on a fifth of the groups."""
        return choose(
            self.group.tolist(),
            lambda groups: self.part(np.flatnonzero(np.isin(self.group, list(groups)))),
            self.scales(names),
            names,
        )

    def fit(self, names: Sequence[str], l2: Strength) -> dict[str, np.ndarray]:
        """Heads: `weight` `(heads, features)` and `bias` `(heads,)`; the score is their logit."""
        features, batch = self.part(np.arange(len(self.step)))
        fit = LinearFit(features, batch, self.scales(names), len(names))
        heads = fit.fit(l2)
        return {"weight": heads["weight"], "bias": heads["bias"] - _cuts(fit.thresholds)}


def _cuts(thresholds: Thresholds) -> np.ndarray:
    """The only threshold of each scale, float32 `(scales,)`."""
    return thresholds.per_scale().detach().numpy()[:, 0].astype(np.float32)


def fit_step_probe(
    train: pd.DataFrame, names: list[str], tokenizer: Tokenizer, settings: StepProbeSettings
) -> tuple[StepProbe, Choice | None]:
    """Fits one head per objective to the table of steps; returns how its strength was chosen."""
    rows = [
        (answer.group, row)
        for answer in labelled_answers(train, names)
        for row in training_rows(
            tokenizer, answer.messages, answer.steps, answer.labels, tokenizer.model_max_length
        )
    ]
    sequences = [row["ids"] for _, row in rows]
    dtype = fastest_dtype.choose(settings.dtype, settings.backbone, settings.device, sequences)
    frozen = load_frozen(settings.backbone, settings.layers, settings.device, dtype)
    model = StepProbe(frozen, tokenizer, settings.layers, names, {})
    labelled = _labelled_steps(model, rows, settings)
    chosen = labelled.choose(names) if settings.l2 is None else None
    if chosen is not None:
        print("\n".join(chosen.lines()))
    model.heads = labelled.fit(names, chosen.l2 if chosen is not None else float(settings.l2 or 0))
    return model, chosen


def _labelled_steps(
    model: StepProbe, rows: Sequence[tuple[str, dict[str, Any]]], settings: StepProbeSettings
) -> LabelledSteps:
    """Reads each labelled step of the training rows once."""
    ends: dict[tuple[int, ...], set[int]] = {}
    for _, row in rows:
        ends.setdefault(tuple(row["ids"]), set()).update(row["ends"])
    pieces: list[Window] = [(ids, tuple(sorted(each))) for ids, each in ends.items()]
    table = states_of(model, pieces, settings.backbone, settings.cache)
    places = [(ids, end) for ids, each in pieces for end in each]
    index = {place_of: number for number, place_of in enumerate(places)}
    labels = [
        (index[tuple(row["ids"]), end], head, label, group)
        for group, row in rows
        for end, head, label in zip(row["ends"], row["heads"], row["labels"], strict=True)
    ]
    step, head, label, group = zip(*labels, strict=True)
    return LabelledSteps(
        table, np.array(step), np.array(head), np.array(label, dtype=float), np.array(group)
    )


def states_of(
    model: StepProbe, pieces: Sequence[Window], backbone: Path, cache: Path
) -> np.ndarray:
    """The states of all windows, float32 `(steps, features)`, kept in the folder `cache`."""
    with kept_features(cache, backbone, model.model, f"steps {list(model.layers)}") as kept:
        return np.concatenate(model.states(pieces, keep=kept.part))
