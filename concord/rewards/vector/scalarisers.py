"""Scalarisers combine a vector of anchored rewards into one number.

To add a scalariser, define a public function `(rewards, weights) -> values` in this module. Its
name can then be used as `select.rule` in params.yaml; no other file changes. Parameters after
`weights` need a default. Names of helper functions must start with an underscore, because every
public function here is a scalariser.

Shapes: rewards `(n, objectives)`, weights `(objectives,)`, values `(n,)`. Rewards are anchored: 0
is the mean under the SFT model, and the unit is one standard deviation. A NaN reward means that the
objective does not apply to the row; the weights of the other objectives are then rescaled to sum
to 1. The value is NaN if no objective with a positive weight applies.
"""

from __future__ import annotations

import numpy as np


def weighted_sum(rewards: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """sum_i w_i r_i. It can only select points on the convex hull of a front.

    Examples:
        >>> rewards = np.array([[1.0, 3.0], [1.0, np.nan]])
        >>> weighted_sum(rewards, np.array([0.5, 0.5])).tolist()
        [2.0, 1.0]
    """
    share = _shares(rewards, weights)
    return _where_any(share, np.where(share > 0, share * np.nan_to_num(rewards), 0.0).sum(axis=1))


def chebyshev(
    rewards: np.ndarray, weights: np.ndarray, ideal: float | np.ndarray = 3.0
) -> np.ndarray:
    """-max_i w_i (ideal_i - r_i): the largest weighted distance to an ideal point.

    It can select every point of a front if no reward exceeds the ideal (Steuer and Choo 1983). The
    ideal is one value, or one per objective; the stage `select` passes the best measured means.

    Examples:
        >>> chebyshev(np.array([[1.0, 2.0]]), np.array([0.5, 0.5])).tolist()
        [-1.0]
    """
    share = _shares(rewards, weights)
    shortfall = np.where(share > 0, share * (ideal - np.nan_to_num(rewards)), -np.inf)
    return _where_any(share, -shortfall.max(axis=1, initial=-np.inf))


def geometric(rewards: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """prod_i s(r_i)^w_i in (0, 1): a weighted geometric mean, where s is the logistic function.

    The logistic function makes rewards positive.

    Examples:
        >>> geometric(np.array([[0.0, 0.0]]), np.array([0.5, 0.5])).tolist()
        [0.5]
    """
    share = _shares(rewards, weights)
    log_logistic = -np.logaddexp(0.0, -np.nan_to_num(rewards))
    return _where_any(share, np.exp((share * log_logistic).sum(axis=1)))


def gate(
    rewards: np.ndarray,
    weights: np.ndarray,
    threshold: float | np.ndarray = 0.0,
    floor: float = -10.0,
) -> np.ndarray:
    """The weighted sum if all rewards reach `threshold`, else `floor` minus the largest shortfall.

    Only objectives with a positive weight are checked. The threshold is one value, or one per
    objective; the stage `select` passes the means of the SFT model.

    Examples:
        >>> gate(np.array([[1.0, 3.0], [1.0, -2.0]]), np.array([0.5, 0.5])).tolist()
        [2.0, -12.0]
    """
    share = _shares(rewards, weights)
    shortfall = np.where(share > 0, threshold - np.nan_to_num(rewards), -np.inf).max(
        axis=1, initial=-np.inf
    )
    return np.where(shortfall > 0, floor - shortfall, weighted_sum(rewards, weights))


def _shares(rewards: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weights `(n, objectives)` that sum to 1 over the objectives that apply to each row.

    The weight of an objective that does not apply is 0.
    """
    rewards, weights = np.asarray(rewards, dtype=float), np.asarray(weights, dtype=float)
    if rewards.ndim != 2 or weights.shape != rewards.shape[1:]:
        raise ValueError(
            f"rewards {rewards.shape} and weights {weights.shape} do not fit together; "
            "the shapes must be (n, objectives) and (objectives,)"
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError(f"weights {weights.tolist()} must be finite and not negative")
    present = np.where(np.isnan(rewards), 0.0, weights)
    total = present.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(present, total, out=np.zeros_like(present), where=total > 0))


def _where_any(share: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The values, NaN for rows to which no weighted objective applies."""
    return np.where(share.sum(axis=1) > 0, values, np.nan)
