"""From a vector of anchored rewards to one number: pure functions `(rewards [n, H], weights [H]) -> [n]`.

NaN means that an objective does not apply to the row: the weights of the others are made to sum to 1 there, and a row
to which none applies, or none that has a weight, gives NaN. Rewards went through the anchors first: 0 is what the SFT
model gives on average, 1 one standard deviation more.
"""

from __future__ import annotations

import numpy as np


def weighted_sum(rewards: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """sum_i w_i r_i. Reaches only the convex part of a front."""
    share = _shares(rewards, weights)
    return _where_any(share, np.where(share > 0, share * np.nan_to_num(rewards), 0.0).sum(axis=1))


def chebyshev(rewards: np.ndarray, weights: np.ndarray, ideal: float = 3.0) -> np.ndarray:
    """-max_i w_i (ideal - r_i): the worst weighted shortfall from an ideal, given in anchored units.

    Reaches every point of a front (Steuer and Choo 1983), as long as no reward goes beyond the ideal.
    """
    share = _shares(rewards, weights)
    shortfall = np.where(share > 0, share * (ideal - np.nan_to_num(rewards)), -np.inf)
    return _where_any(share, -shortfall.max(axis=1, initial=-np.inf))


def geometric(rewards: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """prod_i s(r_i)^w_i in (0, 1), with the logistic s, since an anchored reward may be negative."""
    share = _shares(rewards, weights)
    log_logistic = -np.logaddexp(0.0, -np.nan_to_num(rewards))
    return _where_any(share, np.exp((share * log_logistic).sum(axis=1)))


def gate(
    rewards: np.ndarray, weights: np.ndarray, threshold: float = 0.0, floor: float = -10.0
) -> np.ndarray:
    """The weighted sum where every weighted objective reaches the threshold; else `floor` less the worst shortfall."""
    share = _shares(rewards, weights)
    shortfall = np.where(share > 0, threshold - np.nan_to_num(rewards), -np.inf).max(
        axis=1, initial=-np.inf
    )
    return np.where(shortfall > 0, floor - shortfall, weighted_sum(rewards, weights))


def _shares(rewards: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[n, H] weights that sum to 1 over the objectives present in each row; 0 for the absent."""
    rewards, weights = np.asarray(rewards, dtype=float), np.asarray(weights, dtype=float)
    if rewards.ndim != 2 or weights.shape != rewards.shape[1:]:
        raise ValueError(
            f"rewards {rewards.shape} and weights {weights.shape} do not fit; give [n, H] and [H]"
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError(f"weights {weights.tolist()} must be finite and not negative")
    present = np.where(np.isnan(rewards), 0.0, weights)
    total = present.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(present, total, out=np.zeros_like(present), where=total > 0))


def _where_any(share: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(share.sum(axis=1) > 0, values, np.nan)
