"""One-sided tests on paired differences, and the correction for several tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtr  # type: ignore[import-untyped]


def p_above_zero(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """p-values `(tests,)` of the hypotheses that the mean of a column is at most 0.

    A one-sided t-test with standard errors clustered by group, by linearisation as in
    `noninferiority`. No p-value is below 2^-groups, that of a sign test where all groups agree.

    Args:
        values: `(prompts, tests)`, paired differences; NaN is left out.
        groups: `(prompts,)`, numbers from 0.
    """
    present = np.isfinite(values)
    count = np.maximum(present.sum(axis=0), 1)
    mean = np.where(present, values, 0.0).sum(axis=0) / count
    sums = np.zeros((int(groups.max(initial=0)) + 1, values.shape[1]))
    sizes = np.zeros_like(sums)
    np.add.at(sums, groups, np.where(present, values - mean, 0.0))
    np.add.at(sizes, groups, present)
    clusters = (sizes > 0).sum(axis=0)
    degrees = np.maximum(clusters - 1, 1)
    error = np.sqrt(clusters / degrees * (sums**2).sum(axis=0)) / count
    certain = np.where(mean > 0, np.inf, -np.inf)
    t = np.divide(mean, error, out=certain, where=error > 1e-12 * np.abs(mean))
    p = np.maximum(stdtr(degrees, -t), 0.5**clusters)
    return np.asarray(np.where(clusters < 2, 1.0, p))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction of p-values, in the given order.

    Examples:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p)
    corrected = np.empty(len(p))
    steps = (len(p) - np.arange(len(p))) * np.asarray(p)[order]
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in corrected]
