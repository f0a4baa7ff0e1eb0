"""Temperature calibration of reward heads.

With temperature T, sigmoid((s_a - s_b) / T) is the probability that response a is preferred over b.
The temperature of each head is fitted by maximum likelihood on validation pairs (Guo et al. 2017,
arXiv 1706.04599, applied to the Bradley-Terry model). It changes neither rankings nor rewards,
which are normalised with the anchors; it only says how confident a head may be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

LIMITS = (-4.0, 4.0)
"""Bounds of log T. A head at a bound is practically certain, or knows nothing."""


def temperature(margins: np.ndarray) -> float:
    """The maximum-likelihood temperature T for margins s_chosen - s_rejected `(n,)`."""
    from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]

    result = minimize_scalar(
        lambda log: nll(margins, float(np.exp(log))), bounds=LIMITS, method="bounded"
    )
    return float(np.exp(result.x))


def nll(margins: np.ndarray, scale: float = 1.0) -> float:
    """Mean negative log-likelihood -log sigmoid(margin / scale), in nats.

    Examples:
        >>> round(nll(np.zeros(3)), 4)
        0.6931
    """
    return float(np.logaddexp(0.0, -np.asarray(margins, dtype=np.float64) / scale).mean())


def calibrate(margins: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Fits the temperature of each objective to its margins `(n,)`.

    Returns objective -> `temperature`, `pairs` (number of pairs), and `nll_before` and `nll_after`
    calibration. An objective without pairs has temperature 1.
    """
    result = {}
    for name, values in margins.items():
        scale, before, after = 1.0, float("nan"), float("nan")
        if len(values):
            scale = temperature(values)
            before, after = nll(values, 1.0), nll(values, scale)
        result[name] = {
            "temperature": scale,
            "pairs": len(values),
            "nll_before": before,
            "nll_after": after,
        }
    return result


def reliability(
    margins: Sequence[float] | np.ndarray, scale: float, bins: int = 10
) -> list[dict[str, float]]:
    """Reliability diagram: how often the preferred response is the chosen one, by confidence.

    Confidences sigmoid(|margin| / scale) are divided into bins of equal width on [0.5, 1]. Each bin
    has `predicted` (mean confidence), `observed` (share of correct pairs, ties count half) and
    `pairs`. Empty bins are left out.

    Examples:
        >>> reliability([0.0, 0.0], scale=1.0)
        [{'predicted': 0.5, 'observed': 0.5, 'pairs': 2}]
    """
    margins = np.asarray(margins, dtype=np.float64) / scale
    confidence = 1.0 / (1.0 + np.exp(-np.abs(margins)))
    correct = np.heaviside(margins, 0.5)
    bin_of = np.minimum(((confidence - 0.5) * 2 * bins).astype(int), bins - 1)
    return [
        {
            "predicted": float(confidence[inside].mean()),
            "observed": float(correct[inside].mean()),
            "pairs": int(inside.sum()),
        }
        for inside in (bin_of == index for index in range(bins))
        if inside.any()
    ]


def expected_calibration_error(bins: Sequence[Mapping[str, float]]) -> float:
    """Mean gap between predicted and observed, weighted by pairs; NaN without pairs.

    Examples:
        >>> expected_calibration_error([{"predicted": 0.75, "observed": 0.5, "pairs": 8}])
        0.25
    """
    total = sum(entry["pairs"] for entry in bins)
    if not total:
        return np.nan
    gaps = sum(entry["pairs"] * abs(entry["predicted"] - entry["observed"]) for entry in bins)
    return gaps / total
