"""Where the heads of a finetuned reward model start: a linear fit to their labels on the frozen backbone.

A random head bends the backbone to itself before it has learnt anything, and what the backbone knew of unseen prompts
is lost (Kumar et al., arXiv 2202.10054).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch

from concord.rewards.outcome.examples import Example, Scales
from concord.rewards.outcome.head_fit import LabelledModel
from concord.rewards.outcome.probe import Probe
from concord.rewards.outcome.probe_fit import fit_heads

ANSWERS = 20_000
"""Answers with labels of a head that the linear fit sees about at most."""


def from_labels(
    model: LabelledModel,
    tokenizer: Any,
    examples: Sequence[Example],
    scales: Scales,
    names: list[str],
    l2: float,
) -> None:
    """Gives heads and thresholds the values of a linear fit (`concord.rewards.outcome.probe_fit.fit_heads`) on the states before
    the heads. Thresholds of a scale of which a grade was not among what the fit saw stay as they are."""
    reward: Any = model.model
    some = _some(examples, len(names))
    probe = Probe(reward, tokenizer, [reward.config.num_hidden_layers], names, {})
    read = [
        _read(sequence, reward.config.pad_token_id)
        for example in some
        for sequence in example.sequences
    ]
    heads, thresholds = fit_heads(probe.features(read), some, scales, len(names), l2)
    seen = {(grade.scale, grade.level) for example in some for grade in example.grades}
    with torch.no_grad():
        reward.score.weight.copy_(torch.from_numpy(heads["weight"]))
        model.thresholds.severity.copy_(thresholds.severity)
        for place, (scale, ladder) in enumerate(scales.ladders.items()):
            if all((place, level) in seen for level in range(len(ladder))):
                model.thresholds.free[place] = thresholds.free[place]
                bias = float(heads["bias"][names.index(scale.objective)])
                model.thresholds.free[place, 0] -= bias  # a stock head has none


def _some(examples: Sequence[Example], heads: int) -> list[Example]:
    """The examples, in their order; of a head with very many a part, drawn evenly."""
    rng, taken = random.Random(0), set()
    for head in range(heads):
        own = [at for at, example in enumerate(examples) if head in _heads(example)]
        answers = sum(len(examples[at].sequences) for at in own)
        taken.update(
            own if answers <= ANSWERS else rng.sample(own, max(1, len(own) * ANSWERS // answers))
        )
    return [examples[at] for at in sorted(taken)]


def _heads(example: Example) -> set[int]:
    """The heads that its labels are of."""
    return {label.head for labels in (example.orders, example.grades) for label in labels}


def _read(sequence: Sequence[int], pad: int) -> list[int]:
    """The ids up to that at which a stock classifier reads: the last one that is no padding, which the end of the
    sequence is as well where a tokenizer has no padding of its own."""
    return list(sequence[: max(at for at, token in enumerate(sequence) if token != pad) + 1])
