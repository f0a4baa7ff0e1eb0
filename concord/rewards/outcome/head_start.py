"""Initialises the heads of a finetuned reward model with a linear fit on the frozen backbone.

A random head would distort the features of the backbone in the first steps, which hurts
generalisation to unseen prompts (Kumar et al., arXiv 2202.10054).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device  # type: ignore[import-untyped]

from concord.lm.types import Tokenizer
from concord.rewards.outcome.examples import Example, Scales, labelled_heads
from concord.rewards.outcome.head_fit import LabelledModel, collate, longest_answer
from concord.rewards.outcome.probe_fit import fit_heads

MAX_RESPONSES = 4_000
"""Approximate limit of the labelled responses per head that the linear fit uses. Training starts
from it, so it need not be exact."""
BATCH = 16
"""Examples per forward pass."""


def initialise(
    model: LabelledModel,
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    scales: Scales,
    names: list[str],
    l2: float,
) -> None:
    """Sets heads and thresholds to a linear fit on the hidden states before the heads.

    The fit is `concord.rewards.outcome.probe_fit.fit_heads`. The thresholds of a scale are left as
    they are if the examples do not contain all of its levels.
    """
    reward: Any = model.model
    subset = _subset(examples, len(names))
    features = _features(model, subset, tokenizer.pad_token_id)
    heads, thresholds = fit_heads(features, subset, scales, len(names), l2)
    seen = {(grade.scale, grade.level) for example in subset for grade in example.grades}
    with torch.no_grad():
        reward.score.weight.copy_(torch.from_numpy(heads["weight"]))
        model.thresholds.severity.copy_(thresholds.severity)
        for index, (scale, ladder) in enumerate(scales.ladders.items()):
            if all((index, level) in seen for level in range(len(ladder))):
                model.thresholds.free[index] = thresholds.free[index]
                # Stock heads have no bias, so it is moved into the thresholds.
                bias = float(heads["bias"][names.index(scale.objective)])
                model.thresholds.free[index, 0] -= bias


def _features(model: LabelledModel, examples: Sequence[Example], pad: int) -> np.ndarray:
    """The states that the heads read, float32 `(responses, hidden)`, in the order of `examples`."""
    reward: Any = model.model
    rows = [{"example": example, "weight": 0.0} for example in examples]
    order = sorted(range(len(rows)), key=lambda row: longest_answer(rows[row]))
    make_batch = collate(pad, share_tokens=model.can_pack())
    states: list[np.ndarray] = [np.zeros(0)] * len(rows)
    for start in range(0, len(order), BATCH):
        members = order[start : start + BATCH]
        batch = send_to_device(make_batch([rows[row] for row in members]), reward.device)
        with torch.inference_mode():
            table = model.states(batch).float().cpu().numpy()
        counts = [len(examples[row].sequences) for row in members]
        for row, part in zip(members, np.split(table, np.cumsum(counts)[:-1]), strict=True):
            states[row] = part
    return np.concatenate(states)


def _subset(examples: Sequence[Example], heads: int) -> list[Example]:
    """The examples in their order; for heads with too many responses, a random sample of them."""
    rng = random.Random(0)
    selected: set[int] = set()
    for head in range(heads):
        rows = [row for row, example in enumerate(examples) if head in labelled_heads(example)]
        responses = sum(len(examples[row].sequences) for row in rows)
        if responses > MAX_RESPONSES:
            rows = rng.sample(rows, max(1, len(rows) * MAX_RESPONSES // responses))
        selected.update(rows)
    return [examples[row] for row in sorted(selected)]
