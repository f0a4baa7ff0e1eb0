"""Calibration of reward heads: one temperature each, so that sigmoid((s_a - s_b) / T) is how often a wins.

Fitted on validation pairs by likelihood (Guo et al. 2017, arXiv 1706.04599, for Bradley-Terry). A temperature changes
no order and no reward: those go through the anchors. It says how sure a head may be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

LIMITS = (-4.0, 4.0)
"""Of the natural logarithm of a temperature: beyond, a head is as good as certain or knows nothing."""


def temperature(margins: np.ndarray) -> float:
    """T that makes margins `[n]` s_chosen - s_rejected most likely."""
    from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]

    found = minimize_scalar(
        lambda log: nll(margins, float(np.exp(log))), bounds=LIMITS, method="bounded"
    )
    return float(np.exp(found.x))


def nll(margins: np.ndarray, scale: float = 1.0) -> float:
    """Mean -log sigmoid(margin / scale), in nats."""
    return float(np.logaddexp(0.0, -np.asarray(margins, dtype=np.float64) / scale).mean())


def calibrated(margins: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """By objective its temperature, the pairs that it was fitted on, and their mean negative log-likelihood before and
    after; an objective without pairs keeps 1."""
    found = {}
    for name, own in margins.items():
        scale = temperature(own) if len(own) else 1.0
        before, after = (nll(own, value) if len(own) else float("nan") for value in (1.0, scale))
        found[name] = {
            "temperature": scale,
            "pairs": len(own),
            "nll_before": before,
            "nll_after": after,
        }
    return found


def reliability(
    margins: Sequence[float] | np.ndarray, scale: float, bins: int = 10
) -> list[dict[str, float]]:
    """How often the answer that a head prefers is the chosen one, by how sure it is: bins of equal width on [0.5, 1].

    Each has `predicted` and `observed`, means over its `pairs`; empty bins are left out.
    """
    margins = np.asarray(margins, dtype=np.float64) / scale
    sure, right = 1.0 / (1.0 + np.exp(-np.abs(margins))), np.heaviside(margins, 0.5)
    place = np.minimum(((sure - 0.5) * 2 * bins).astype(int), bins - 1)
    return [
        {
            "predicted": float(sure[inside].mean()),
            "observed": float(right[inside].mean()),
            "pairs": int(inside.sum()),
        }
        for inside in (place == index for index in range(bins))
        if inside.any()
    ]


def expected_error(bins: Sequence[Mapping[str, float]]) -> float:
    """Expected calibration error: the mean gap between predicted and observed, weighted by pairs."""
    total = sum(each["pairs"] for each in bins)
    return (
        sum(each["pairs"] * abs(each["predicted"] - each["observed"]) for each in bins) / total
        if total
        else np.nan
    )
