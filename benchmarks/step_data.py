"""Labelled solutions for `benchmarks.step_folds`, and the hidden states at their steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.reward_data import merged
from benchmarks.step_states import Window, cached_step_states
from benchmarks.steps.labelled_steps import solutions
from concord.lm.load import load_tokenizer
from concord.prepared import splits
from concord.rewards.process.process_model import windows

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


def load(name: str, path: str) -> pd.DataFrame:
    """The solutions in a file; groups with equal or nearly equal prompts are merged."""
    table = solutions(name, path, "correct")
    return splits.regroup(table, merged({"steps": table}))


def states(
    table: pd.DataFrame, model: Path, layers: Sequence[int], dtype: str, folder: Path
) -> list[np.ndarray]:
    """States of every solution, float32 (steps, layers * width).

    They are taken at the positions that the process reward model reads.
    """
    tokenizer = load_tokenizer(model)
    numbers: dict[Window, int] = {}
    windows_of = []
    for messages, steps in zip(table["messages"], table["steps"], strict=True):
        parts = []
        for window in windows(tokenizer, messages, list(steps), MAX_LENGTH):
            key = tuple(window["ids"]), tuple(window["ends"])
            parts.append((numbers.setdefault(key, len(numbers)), window["steps"]))
        windows_of.append(parts)
    computed = cached_step_states(folder, model, dtype, layers, list(numbers))
    return [
        _assembled(parts, len(steps), computed)
        for parts, steps in zip(windows_of, table["steps"], strict=True)
    ]


def _assembled(
    parts: list[tuple[int, list[int]]], count: int, computed: list[np.ndarray]
) -> np.ndarray:
    table = np.zeros((count, computed[0].shape[1]), dtype=np.float32)
    for number, steps in parts:
        table[steps] = computed[number]
    return table
