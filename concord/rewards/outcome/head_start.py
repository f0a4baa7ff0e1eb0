"""Initialises the heads of a finetuned reward model with a linear fit on the frozen backbone.

A random head would distort the features of the backbone in the first steps, which hurts
generalisation to unseen prompts (Kumar et al., arXiv 2202.10054).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch

from concord.lm.types import Tokenizer
from concord.rewards.outcome.examples import Example, Scales, labelled_heads
from concord.rewards.outcome.head_fit import LabelledModel, until_last_token
from concord.rewards.outcome.probe import Probe
from concord.rewards.outcome.probe_fit import fit_heads

MAX_RESPONSES = 20_000
"""Approximate limit of the labelled responses per head that the linear fit uses."""


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
    probe = Probe(reward, tokenizer, [reward.config.num_hidden_layers], names, {})
    sequences = [
        until_last_token(sequence, reward.config.pad_token_id)
        for example in subset
        for sequence in example.sequences
    ]
    heads, thresholds = fit_heads(probe.features(sequences), subset, scales, len(names), l2)
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
