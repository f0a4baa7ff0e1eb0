"""Rewards compared within groups, the samples of one prompt."""

from __future__ import annotations

import numpy as np

EPSILON = 1e-4
"""Added to standard deviations, as in TRL. Rewards that are constant within a group become 0."""


def normalise(rewards: np.ndarray, generations: int) -> np.ndarray:
    """Subtracts the group mean and divides by the group's sample standard deviation.

    `rewards` is `(rows, objectives)`, with the `generations` samples of a prompt in consecutive
    rows. NaN stays NaN.
    """
    return np.stack([_normalise(column, generations) for column in rewards.T], axis=1)


def _normalise(values: np.ndarray, generations: int) -> np.ndarray:
    """One column, `(rows,)`."""
    groups = np.asarray(values, dtype=float).reshape(-1, generations)
    spread = groups.std(axis=1, ddof=1, keepdims=True)
    result: np.ndarray = (groups - groups.mean(axis=1, keepdims=True)) / (spread + EPSILON)
    return result.reshape(-1)


def without_conflicts(
    normalised: np.ndarray, weights: np.ndarray, generations: int, threshold: float
) -> np.ndarray:
    """Factors `(rows,)` of the advantages that leave out samples whose rewards disagree.

    GD2PO (arXiv 2606.16771): a sample is left out if its normalised rewards have both signs and
    |sum_i w_i A_i| < threshold * sum_i w_i |A_i|. The factor of the other samples is the share of
    their group that is left. With threshold 1, both signs are enough.

    Args:
        normalised: `(rows, objectives)`, 0 if an objective does not apply.
        weights: `(rows, objectives)`.
        generations: samples per prompt.
        threshold: between 0 and 1.

    Examples:
        >>> rewards = np.array([[1.0, 1.0], [1.0, -1.0], [1.0, -0.2], [-1.0, -1.0]])
        >>> without_conflicts(rewards, np.full((4, 2), 0.5), 4, threshold=0.5).tolist()
        [0.75, 0.0, 0.75, 0.75]
        >>> without_conflicts(rewards, np.full((4, 2), 0.5), 4, threshold=1.0).tolist()
        [0.5, 0.0, 0.0, 0.5]
    """
    parts = weights * normalised
    total, size = np.abs(parts.sum(axis=1)), np.abs(parts).sum(axis=1)
    both_signs = (parts > 0).any(axis=1) & (parts < 0).any(axis=1)
    kept = ~(both_signs & (total < threshold * size))
    shares = kept.reshape(-1, generations).mean(axis=1)
    return np.asarray(kept * np.repeat(shares, generations))
