"""Where the heads of a finetuned reward model start: a linear fit to their labels on the frozen backbone.

A random head bends the backbone to itself before it has learnt anything, and what the backbone knew of unseen prompts
is lost (Kumar et al., arXiv 2202.10054).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tasks.rewards.examples import Example, Scales
from tasks.rewards.label_fit import LabelledModel
from tasks.rewards.probe import Probe
from tasks.rewards.probe_fit import fit_heads

ANSWERS = 20_000
"""Answers that the linear fit sees at most."""


def from_labels(
    model: LabelledModel, tokenizer: Any, examples: Sequence[Example], scales: Scales, names: list[str], l2: float
) -> None:
    """Gives heads and thresholds the values of a linear fit (`tasks.rewards.probe_fit.fit_heads`) on the states before
    the heads."""
    reward: Any = model.model
    some = examples[:: 1 + sum(len(example.sequences) for example in examples) // ANSWERS]
    probe = Probe(reward, tokenizer, [reward.config.num_hidden_layers], names, {})
    states = probe.features([sequence for example in some for sequence in example.sequences])
    heads, thresholds = fit_heads(states, some, scales, len(names), l2)
    with torch.no_grad():
        reward.score.weight.copy_(torch.from_numpy(heads["weight"]))
        model.thresholds.load_state_dict(thresholds.state_dict())
        for place, scale in enumerate(scales.ladders):  # a stock head has no bias: the thresholds take it up
            model.thresholds.free[place, 0] -= float(heads["bias"][names.index(scale.objective)])
