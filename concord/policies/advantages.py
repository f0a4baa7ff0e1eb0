"""Advantages of groups of samples from a vector of anchored rewards.

Every public function here can be named as `aggregation` of a GRPO policy. It maps

    rewards: (rows, H) anchored rewards, NaN where an objective does not apply; the `generations` samples of a prompt
        are consecutive
    weights: (rows, H), which sum to 1 over the objectives of the row's domain

to (rows,) advantages with mean 0 within each group. Rows that no weighted reward applies to get 0. A group whose sum
does not vary may still vary in its parts, so no group is filtered by its sum.
"""

from __future__ import annotations

import numpy as np

from concord.rewards.vector.scalarisers import weighted_sum

EPSILON = 1e-4
"""Added to standard deviations, as TRL does: a reward that does not vary within its group gives 0."""


def sum_then_normalize(rewards: np.ndarray, weights: np.ndarray, generations: int) -> np.ndarray:
    """The weighted sum, then normalised within each prompt's group. GRPO: arXiv 2402.03300.

    Examples:
        >>> rewards, weights = np.array([[0.0, 0.0], [10.0, 0.0]]), np.full((2, 2), 0.5)
        >>> sum_then_normalize(rewards, weights, 2).round(3).tolist()
        [-0.707, 0.707]
    """
    return _without_nan(_normalise(_mixed(rewards, weights), generations))


def normalize_then_sum(rewards: np.ndarray, weights: np.ndarray, generations: int) -> np.ndarray:
    """Each reward normalised within the group, then the weighted sum, which is robust to scales. GDPO: arXiv 2601.05242.

    The paper's last step, which normalises the sums over the batch, is left out. Rewards that oppose each other
    therefore leave smaller advantages, and the KL term weighs more than under `sum_then_normalize`.

    Examples:
        >>> rewards, weights = np.array([[0.0, 3.0], [10.0, 3.0]]), np.full((2, 2), 0.5)
        >>> normalize_then_sum(rewards, weights, 2).round(3).tolist()
        [-0.354, 0.354]
    """
    parts = np.stack([_normalise(column, generations) for column in rewards.T], axis=1)
    return _without_nan(_mixed(parts, weights))


def _normalise(values: np.ndarray, generations: int) -> np.ndarray:
    """(rows,): minus the mean of the group, over its standard deviation (n - 1); NaN stays NaN."""
    groups = np.asarray(values, dtype=float).reshape(-1, generations)
    spread = groups.std(axis=1, ddof=1, keepdims=True)
    result: np.ndarray = (groups - groups.mean(axis=1, keepdims=True)) / (spread + EPSILON)
    return result.reshape(-1)


def _mixed(rewards: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(rows,) weighted sums, each row with its own weights."""
    result = np.full(len(rewards), np.nan)
    for vector in np.unique(weights, axis=0):
        rows = (weights == vector).all(axis=1)
        result[rows] = weighted_sum(rewards[rows], vector)
    return result


def _without_nan(values: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), 0.0, values)
