"""Linear heads on features of a frozen model, fitted to the training data of each fold."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.reward_data import INNER, MAX_LENGTH, Data, folds
from concord.lm.batches import encode_all
from concord.lm.load import load_causal, load_tokenizer
from concord.prepared import labels, splits
from concord.rewards.outcome.examples import Scales, examples
from concord.rewards.outcome.probe import Pooling, Probe
from concord.rewards.outcome.probe_fit import Features, fit_heads

L2 = (30.0, 100.0, 300.0, 1000.0)
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
        probe = Probe(
            load_causal(model, dtype=dtype), self.tokenizer, layers, data.names, {}, pooling
        )
        sequences = self._encoded(data.ratings, "response")
        started = time.perf_counter()
        self.features = Features(probe, model, sequences, cache)
        print(f"features of {len(sequences)} rated answers: {time.perf_counter() - started:.0f} s")

    def _encoded(self, frame: pd.DataFrame, column: str) -> list[list[int]]:
        return encode_all(self.tokenizer, frame["messages"].tolist(), frame[column].tolist())

    def of(self, frame: pd.DataFrame, column: str) -> np.ndarray:
        """Features of the answers in a column, (rows, width)."""
        return self.features.lookup(self._encoded(frame, column))

    def fit(self, data: Data, names: list[str], way: str, l2: float) -> dict[str, np.ndarray]:
        """Fits the heads to all labels of the data."""
        table = (
            labels.from_ratings(data.ratings) if way == "given" else labels.from_pairs(data.pairs)
        )
        scales = Scales.from_labels(table)
        training = examples(table, names, scales, self.tokenizer, {})
        features = self.features.lookup(
            sequence for example in training for sequence in example.sequences
        )
        return fit_heads(features, training, scales, len(names), l2)[0]

    def margins(
        self, heads: dict[str, np.ndarray], names: list[str], frame: pd.DataFrame
    ) -> np.ndarray:
        """Score of the chosen minus the rejected answer, on the objective of each pair."""
        weights = heads["weight"].astype(float)[[names.index(name) for name in frame["objective"]]]
        differences = (self.of(frame, "chosen") - self.of(frame, "rejected")).astype(float)
        return np.asarray((differences * weights).sum(axis=1))

    def chosen(self, data: Data, names: list[str]) -> tuple[str, float]:
        """Chooses the form of the labels and the L2 strength on an inner part of the groups.

        The criterion is pair accuracy, averaged over heads.
        """
        inner = {
            group
            for group in set(data.ratings["group_id"])
            if splits.position(group, "inner") < INNER
        }
        fitted, held_out = data.of(set(data.ratings["group_id"]) - inner), data.of(inner)
        scores = {}
        for way, l2 in itertools.product(self.ways, L2):
            right = self.margins(self.fit(fitted, names, way, l2), names, held_out.pairs) > 0
            scores[way, l2] = (
                pd.Series(right).groupby(held_out.pairs["objective"].to_numpy()).mean().mean()
            )
        return max(scores, key=lambda key: scores[key])


@dataclass
class Fold:
    """Data of one fold, and the heads fitted to its training part."""

    train: Data
    test: Data
    heads: dict[str, np.ndarray]


def fitted(judge: Judge, data: Data, count: int) -> Iterator[Fold]:
    """Fits every fold; prints what was chosen and how long the fit took."""
    for number, (train, test) in enumerate(folds(data, count)):
        way, l2 = judge.chosen(train, data.names)
        started = time.perf_counter()
        heads = judge.fit(train, data.names, way, l2)
        print(
            f"fold {number}: labels {way}, l2 {l2:g}, "
            f"fitted in {time.perf_counter() - started:.1f} s",
            flush=True,
        )
        yield Fold(train, test, heads)
