"""Group-relative advantages from a vector of anchored rewards.

Every public function of this module can be the `aggregation` of a policy in params.yaml. To
add one, define a function here with the signature below; no other file needs to change. Names of
helpers start with an underscore.

    def my_aggregation(rewards, weights, generations):

Args:
    rewards: anchored rewards `(rows, objectives)`, NaN if an objective does not apply to the row.
        The `generations` samples of one prompt are consecutive rows.
    weights: `(rows, objectives)`. The weights of a row sum to 1 over the objectives of its domain.
    generations: samples per prompt, the size of a group.

Returns:
    Advantages `(rows,)` with mean 0 within each group, and 0 for rows without a weighted reward.

A group is kept even if its weighted sums are all equal: the single rewards may still differ.
"""

from __future__ import annotations

import numpy as np

from concord.policies.rl.groups import normalise
from concord.rewards.vector.scalarisers import weighted_sum


def sum_then_normalize(rewards: np.ndarray, weights: np.ndarray, generations: int) -> np.ndarray:
    """Normalises the weighted sum of the rewards within each group. GRPO: arXiv 2402.03300.

    Examples:
        >>> rewards, weights = np.array([[0.0, 0.0], [10.0, 0.0]]), np.full((2, 2), 0.5)
        >>> sum_then_normalize(rewards, weights, 2).round(3).tolist()
        [-0.707, 0.707]
    """
    return _nan_to_zero(normalise(_weighted_sums(rewards, weights)[:, None], generations)[:, 0])


def normalize_then_sum(rewards: np.ndarray, weights: np.ndarray, generations: int) -> np.ndarray:
    """Normalises each reward within the group, then takes the weighted sum. GDPO: arXiv 2601.05242.

    The result does not depend on the scales of the rewards. The last step of the paper, which
    normalises the sums over the batch, is left out unless `normalize_over_batch` is set.
    Conflicting rewards therefore lead to smaller advantages, and the KL term has more influence
    than with `sum_then_normalize`.

    Examples:
        >>> rewards, weights = np.array([[0.0, 3.0], [10.0, 3.0]]), np.full((2, 2), 0.5)
        >>> normalize_then_sum(rewards, weights, 2).round(3).tolist()
        [-0.354, 0.354]
    """
    return _nan_to_zero(_weighted_sums(normalise(rewards, generations), weights))


def leave_one_out(rewards: np.ndarray, weights: np.ndarray, generations: int) -> np.ndarray:
    """The weighted sum minus its mean over the other samples. RLOO: arXiv 2402.14740.

    The spread within a group is kept, so prompts with a larger spread have more influence.

    Examples:
        >>> rewards, weights = np.array([[0.0], [3.0], [3.0]]), np.ones((3, 1))
        >>> leave_one_out(rewards, weights, 3).tolist()
        [-3.0, 1.5, 1.5]
    """
    groups = _weighted_sums(rewards, weights).reshape(-1, generations)
    others = (groups.sum(axis=1, keepdims=True) - groups) / (generations - 1)
    return _nan_to_zero((groups - others).reshape(-1))


def _weighted_sums(rewards: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted sum of each row, `(rows,)`."""
    result = np.full(len(rewards), np.nan)
    for vector in np.unique(weights, axis=0):
        rows = (weights == vector).all(axis=1)
        result[rows] = weighted_sum(rewards[rows], vector)
    return result


def _nan_to_zero(values: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), 0.0, values)
