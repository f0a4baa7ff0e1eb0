"""Validation pairs of an outcome reward model: their margins and the pair accuracy of each head.

During training the accuracy is written to the curve. Afterwards the temperatures of the heads are
fitted to the margins (`concord.rewards.outcome.calibration`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from concord.lm.batches import encode_all
from concord.lm.types import Tokenizer

if TYPE_CHECKING:
    import pandas as pd

Score = Callable[[list[list[int]]], np.ndarray]
"""Token ids of sequences -> scores `(sequences, heads)`."""


class Pair(NamedTuple):
    """A pair of one objective, as token ids of the prompt with each answer."""

    chosen: list[int]
    rejected: list[int]
    head: int
    """Index of the objective's head."""


def encode_pairs(
    frame: pd.DataFrame, names: Sequence[str], tokenizer: Tokenizer, steady_cut: bool = False
) -> list[Pair]:
    """The pairs of the objectives `names`, which are in the order of the heads.

    Pairs whose two answers have the same tokens are dropped. `steady_cut` is how long prompts are
    cut (`concord.lm.chat.encode`).
    """
    frame = frame[frame["objective"].isin(list(names))]
    messages = frame["messages"].tolist()
    sides = [
        encode_all(tokenizer, messages, frame[side].tolist(), steady_cut)
        for side in ("chosen", "rejected")
    ]
    heads = [list(names).index(name) for name in frame["objective"]]
    return [
        Pair(chosen, rejected, head)
        for chosen, rejected, head in zip(*sides, heads, strict=True)
        if chosen != rejected
    ]


def sides_by_objective(
    pairs: Sequence[Pair], names: Sequence[str]
) -> dict[str, tuple[list[list[int]], list[list[int]]]]:
    """Objective -> token ids of the chosen answers, and of the rejected answers.

    Examples:
        >>> sides_by_objective([Pair([1, 2], [1, 3], head=1)], ["helpful", "honest"])
        {'helpful': ([], []), 'honest': ([[1, 2]], [[1, 3]])}
    """
    pairs_by_objective = {
        name: [pair for pair in pairs if pair.head == head] for head, name in enumerate(names)
    }
    return {
        name: ([pair.chosen for pair in of_name], [pair.rejected for pair in of_name])
        for name, of_name in pairs_by_objective.items()
    }


def pair_margins(
    score: Score, pairs: Sequence[Pair], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Objective -> score of chosen minus score of rejected `(pairs,)`."""
    margins = {}
    for head, (name, (chosen, rejected)) in enumerate(sides_by_objective(pairs, names).items()):
        if chosen:
            margins[name] = score(chosen)[:, head] - score(rejected)[:, head]
        else:
            margins[name] = np.zeros(0)
    return margins


def pair_accuracy(score: Score, pairs: Sequence[Pair], names: Sequence[str]) -> dict[str, float]:
    """`validation_<objective>` -> share of its pairs whose chosen answer has the higher score.

    Objectives without pairs are left out.
    """
    margins = pair_margins(score, pairs, names)
    return {
        f"validation_{name}": float((margin > 0).mean())
        for name, margin in margins.items()
        if len(margin)
    }
