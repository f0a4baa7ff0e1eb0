"""Solutions with labelled steps for `benchmarks.step_folds`: read, put into groups, and the states at their steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.reward_data import merged
from benchmarks.step_states import Window, kept
from benchmarks.steps.labelled_steps import solutions
from concord.lm.load import load_tokenizer
from concord.prepared import splits
from concord.rewards.process.process_model import windows

MAX_LENGTH = 2048
"""Tokens that are read at once; of what is longer, earlier steps are read in windows of their own."""


def load(name: str, path: str) -> pd.DataFrame:
    """The solutions in a file; groups that share a prompt, or have near duplicates, are one."""
    table = solutions(name, path, "correct")
    return splits.regroup(table, merged({"steps": table}))


def states(
    table: pd.DataFrame, model: Path, layers: Sequence[int], dtype: str, folder: Path
) -> list[np.ndarray]:
    """float32 (steps, layers * width) of every solution, read where the process reward model reads."""
    tokenizer = load_tokenizer(model)
    places: dict[Window, int] = {}
    read = []
    for messages, steps in zip(table["messages"], table["steps"], strict=True):
        own = []
        for window in windows(tokenizer, messages, list(steps), MAX_LENGTH):
            key = tuple(window["ids"]), tuple(window["ends"])
            own.append((places.setdefault(key, len(places)), window["steps"]))
        read.append(own)
    found = kept(folder, model, dtype, layers, list(places))
    return [
        _placed(own, len(steps), found) for own, steps in zip(read, table["steps"], strict=True)
    ]


def _placed(own: list[tuple[int, list[int]]], count: int, found: list[np.ndarray]) -> np.ndarray:
    table = np.zeros((count, found[0].shape[1]), dtype=np.float32)
    for place, steps in own:
        table[steps] = found[place]
    return table
