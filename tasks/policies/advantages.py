"""Advantages of groups of samples from a vector of anchored rewards.

`sum_then_normalize`: the weighted sum, then normalised within each prompt's group (GRPO, arXiv 2402.03300).
`normalize_then_sum`: each reward normalised within the group, then the weighted sum, which keeps apart what differs in
scale (GDPO, arXiv 2601.05242, without its last step, which normalises the sums over the batch: parts that oppose each
other leave smaller advantages, so the KL term weighs more than under `sum_then_normalize`). A group whose sum does not
vary may still vary in its parts, so nothing is filtered by the sum.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from tasks.rewards.scalarisers import weighted_sum

EPSILON = 1e-4
"""Added to standard deviations, as TRL does: a reward that does not vary within its group gives 0."""
Aggregation = Literal["sum_then_normalize", "normalize_then_sum"]


def advantages(rewards: np.ndarray, weights: np.ndarray, generations: int, aggregation: Aggregation) -> np.ndarray:
    """(rows,) advantages, mean 0 within each group; rows that no weighted reward applies to get 0.

    Args:
        rewards: (rows, H) anchored rewards, NaN where an objective does not apply; the `generations` samples of a
            prompt are consecutive.
        weights: (rows, H), summing to 1 over the objectives of the row's domain.
    """
    if aggregation == "sum_then_normalize":
        return _without_nan(normalise(mixed(rewards, weights), generations))
    parts = np.stack([normalise(column, generations) for column in rewards.T], axis=1)
    return _without_nan(mixed(parts, weights))


def normalise(values: np.ndarray, generations: int) -> np.ndarray:
    """(rows,): minus the mean of the group, over its standard deviation (n - 1); NaN stays NaN."""
    groups = np.asarray(values, dtype=float).reshape(-1, generations)
    spread = groups.std(axis=1, ddof=1, keepdims=True)
    result: np.ndarray = (groups - groups.mean(axis=1, keepdims=True)) / (spread + EPSILON)
    return result.reshape(-1)


def mixed(rewards: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(rows,) weighted sums, each row with weights of its own."""
    result = np.full(len(rewards), np.nan)
    for vector in np.unique(weights, axis=0):
        rows = (weights == vector).all(axis=1)
        result[rows] = weighted_sum(rewards[rows], vector)
    return result


def _without_nan(values: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), 0.0, values)
