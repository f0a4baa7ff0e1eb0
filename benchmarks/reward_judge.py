"""Linear heads on features of a frozen model, fitted to the training data of each fold."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.reward_data import MAX_LENGTH, Data, folds
from concord.lm import fastest_dtype
from concord.lm.batches import encode_all
from concord.lm.frozen import load_frozen
from concord.lm.load import load_tokenizer
from concord.rewards.outcome.examples import Example, Scales, examples
from concord.rewards.outcome.probe import Pooling, Probe
from concord.rewards.outcome.probe_fit import Features, Strength, fit_heads
from concord.rewards.outcome.regularisation import Choice, choose_for, held_out_groups

WAYS = ("given", "implied_pairs")


class Judge:
    """A frozen model with cached features of all answers."""

    def __init__(
        self,
        model: Path,
        layers: Sequence[int],
        pooling: Sequence[Pooling],
        dtype: str,
        ways: Sequence[str],
        data: Data,
        cache: Path,
    ) -> None:
        self.ways = ways
        self.tokenizer = load_tokenizer(model)
        self.tokenizer.model_max_length = MAX_LENGTH
        sequences = self._encoded(data.ratings, "response")
        for side in ("chosen", "rejected"):
            sequences += self._encoded(data.pairs, side)
        dtype = fastest_dtype.choose(dtype, model, "cpu", sequences)
        backbone = load_frozen(model, layers, "cpu", dtype)
        probe = Probe(backbone, self.tokenizer, layers, data.names, {}, pooling)
        started = time.perf_counter()
        self.features = Features(probe, model, sequences, cache)
        count = len({tuple(sequence) for sequence in sequences})
        print(f"features of {count} answers: {time.perf_counter() - started:.0f} s")

    def _encoded(self, frame: pd.DataFrame, column: str) -> list[list[int]]:
        messages, responses = frame["messages"].tolist(), frame[column].tolist()
        return encode_all(self.tokenizer, messages, responses, steady_cut=True)

    def of(self, frame: pd.DataFrame, column: str) -> np.ndarray:
        """Features of the answers in a column, (rows, width)."""
        return self.features.lookup(self._encoded(frame, column))

    def fit(self, data: Data, names: list[str], way: str, l2: Strength) -> dict[str, np.ndarray]:
        """Fits the heads to all labels of the data."""
        training, scales, features = self._training(data, names, way)
        return fit_heads(features, training, scales, len(names), l2)[0]

    def _training(
        self, data: Data, names: list[str], way: str
    ) -> tuple[list[Example], Scales, np.ndarray]:
        """The examples of all labels, the scales of the grades, and the features."""
        table = data.labels(way)
        scales = Scales.from_labels(table)
        training = examples(table, names, scales, self.tokenizer, {}, steady_cut=True)
        return (
            training,
            scales,
            self.features.lookup(
                sequence for example in training for sequence in example.sequences
            ),
        )

    def margins(
        self, heads: dict[str, np.ndarray], names: list[str], frame: pd.DataFrame
    ) -> np.ndarray:
        """Score of the chosen minus the rejected answer, on the objective of each pair."""
        weights = heads["weight"].astype(float)[[names.index(name) for name in frame["objective"]]]
        differences = (self.of(frame, "chosen") - self.of(frame, "rejected")).astype(float)
        return np.asarray((differences * weights).sum(axis=1))

    def chosen(self, data: Data, names: list[str]) -> tuple[str, Choice]:
        """Chooses the form of the labels and the L2 strengths on an inner part of the groups.

        The strength of a head is chosen by the loss of held-out labels, and the form of the labels
        by pair accuracy, averaged over heads.
        """
        choices = {}
        for way in self.ways:
            training, scales, features = self._training(data, names, way)
            choices[way] = choose_for(features, training, scales, names)
        way = self.ways[0]
        if len(self.ways) > 1:
            way = max(self.ways, key=lambda way: self._accuracy(data, names, way, choices[way].l2))
        return way, choices[way]

    def _accuracy(self, data: Data, names: list[str], way: str, l2: Strength) -> float:
        """Pair accuracy on the inner groups of heads that are fitted to the others."""
        inner = held_out_groups(data.groups)
        held_out = data.of(inner).pairs
        heads = self.fit(data.of(data.groups - inner), names, way, l2)
        right = pd.Series(self.margins(heads, names, held_out) > 0)
        return float(right.groupby(held_out["objective"].to_numpy()).mean().mean())


@dataclass
class Fold:
    """Data of one fold, and the heads fitted to its training part."""

    train: Data
    test: Data
    heads: dict[str, np.ndarray]


def fitted(judge: Judge, data: Data, count: int) -> Iterator[Fold]:
    """Fits every fold; prints what was chosen and how long the fit took."""
    for number, (train, test) in enumerate(folds(data, count)):
        started = time.perf_counter()
        way, choice = judge.chosen(train, data.names)
        heads = judge.fit(train, data.names, way, choice.l2)
        print(f"fold {number}: labels {way}, fitted in {time.perf_counter() - started:.1f} s")
        print("\n".join(choice.lines()), flush=True)
        yield Fold(train, test, heads)
