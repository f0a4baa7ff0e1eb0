"""Labelled solutions for `benchmarks.step_folds`, and the hidden states at their steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.reward_data import merged
from benchmarks.steps.labelled_steps import solutions
from concord.lm import fastest_dtype
from concord.lm.frozen import load_frozen
from concord.lm.load import load_tokenizer
from concord.lm.shared_prefixes import tokens_read
from concord.prepared import splits
from concord.rewards.process.step_probe import StepProbe, windows_of
from concord.rewards.process.step_probe_fit import LabelledSteps, states_of

MAX_LENGTH = 2048
"""Longest window in tokens; the earlier steps of longer solutions get separate windows."""


@dataclass(frozen=True)
class Steps:
    """The steps of all solutions of a table, concatenated."""

    table: pd.DataFrame
    states: np.ndarray
    """float32 (steps, width)."""

    @cached_property
    def owner(self) -> np.ndarray:
        """Row of the table for each step."""
        return np.repeat(np.arange(len(self.table)), self.counts)

    @cached_property
    def counts(self) -> np.ndarray:
        """Number of steps of each solution."""
        return self.table["steps"].map(len).to_numpy()

    @cached_property
    def labels(self) -> np.ndarray:
        """1, 0, or NaN for unlabelled steps."""
        return np.concatenate(self.table["gold"].tolist())

    @cached_property
    def texts(self) -> np.ndarray:
        """The texts of the steps."""
        return np.array([step for steps in self.table["steps"] for step in steps], dtype=object)

    def of(self, rows: np.ndarray, labelled: bool = False) -> np.ndarray:
        """Indices of the steps of some solutions: all of them, or only the labelled ones."""
        inside = np.isin(self.owner, rows)
        return np.flatnonzero(inside & np.isfinite(self.labels) if labelled else inside)

    def split(self, scores: np.ndarray) -> list[np.ndarray]:
        """Splits scores of all steps by solution."""
        return np.split(scores, np.cumsum(self.counts)[:-1])

    def labelled(self, rows: np.ndarray) -> LabelledSteps:
        """The labelled steps of some solutions, for a single head."""
        steps = self.of(rows, labelled=True)
        groups = self.table["group_id"].to_numpy()[self.owner[steps]]
        heads = np.zeros(len(steps), dtype=int)
        return LabelledSteps(self.states, steps, heads, self.labels[steps], groups)


def load(name: str, path: str, objective: str = "correct") -> pd.DataFrame:
    """The solutions in a file; groups with equal or nearly equal prompts are merged."""
    table = solutions(name, path, objective)
    return splits.regroup(table, merged({"steps": table}))


def states(
    table: pd.DataFrame, model: Path, layers: Sequence[int], dtype: str, folder: Path
) -> list[np.ndarray]:
    """States of every solution, float32 (steps, layers * width).

    They are taken at the positions that the process reward model reads, and cached in `folder`.
    """
    tokenizer = load_tokenizer(model)
    tokenizer.model_max_length = MAX_LENGTH
    pieces = windows_of(tokenizer, table["messages"].tolist(), table["steps"].tolist())
    distinct = list(dict.fromkeys(window for _, window, _ in pieces))
    sequences = [list(ids) for ids, _ in distinct]
    print(f"{tokens_read(sequences)} of {sum(map(len, sequences))} tokens go through the model")
    dtype = fastest_dtype.choose(dtype, model, "cpu", sequences)
    probe = StepProbe(load_frozen(model, layers, "cpu", dtype), tokenizer, layers, [], {})
    computed = states_of(probe, distinct, model, folder)
    stops = np.cumsum([len(ends) for _, ends in distinct])
    by_window = dict(zip(distinct, np.split(computed, stops[:-1]), strict=True))
    results = [np.zeros((len(steps), computed.shape[1]), np.float32) for steps in table["steps"]]
    for row, window, inside in pieces:
        results[row][inside] = by_window[window]
    return results
