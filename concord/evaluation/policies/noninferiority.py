"""Paired tests that a candidate is not worse than a champion by more than a margin.

Per objective, both models answered the same prompts. The candidate passes if the one-sided lower
confidence bound of the mean difference is not below minus the margin. All objectives must pass, so
the error rate of accepting a model that is worse by the margin in any of them is at most that of
one test (intersection-union test: Berger, Technometrics 24, 1982).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats  # type: ignore[import-untyped]

from concord.evaluation.metrics import Clusters
from concord.evaluation.policies.likelihood import judged_units


@dataclass(frozen=True)
class Difference:
    """Candidate minus champion on one objective."""

    mean: float
    error: float
    """Standard error, clustered by group of prompts."""
    groups: int

    def lower(self, error_rate: float) -> float:
        """The one-sided lower bound at confidence 1 - `error_rate`."""
        return self.mean - self._quantile(error_rate) * self.error

    def power(self, margin: float, error_rate: float) -> float:
        """Probability that a candidate equal to the champion passes, for this standard error."""
        if self.error == 0:
            return 1.0
        return float(stats.norm.cdf(margin / self.error - self._quantile(error_rate)))

    def _quantile(self, error_rate: float) -> float:
        return float(stats.t.ppf(1 - error_rate, max(self.groups - 1, 1)))


def difference(candidate: np.ndarray, champion: np.ndarray, counts: np.ndarray) -> Difference:
    """The paired difference of two ratio means, from sums and counts per group of prompts.

    The standard error is that of a ratio estimator, by linearisation (Cochran, Sampling Techniques,
    1977, section 2.11).

    Args:
        candidate: sums of the candidate per group, `(groups,)`.
        champion: sums of the champion per group, `(groups,)`.
        counts: answers per group, `(groups,)`; the same for both.
    """
    used = counts > 0
    gaps, counts, groups = (candidate - champion)[used], counts[used], int(used.sum())
    mean = float(gaps.sum() / counts.sum())
    residuals = gaps - mean * counts
    if groups < 2:
        return Difference(mean, float("inf"), groups)
    variance = groups / (groups - 1) * float((residuals**2).sum())
    return Difference(mean, float(np.sqrt(variance) / counts.sum()), groups)


def compare(
    candidate: pd.DataFrame,
    champion: pd.DataFrame,
    names: Mapping[str, Sequence[str]],
    margins: Mapping[str, float],
    error_rate: float,
) -> dict[str, Any]:
    """Objective -> both means, their difference with its bound, the margin and whether it passes.

    Objectives that were not judged are left out.

    Args:
        candidate: samples of one point per domain.
        champion: samples of one point per domain, on the same prompts.
        names: domain -> its objectives.
        margins: objective -> its margin.
        error_rate: of each test.
    """
    rows = {}
    for domain, members in names.items():
        sides = [
            judged_units(frame, domain, members).assign(side=side)
            for side, frame in (("candidate", candidate), ("champion", champion))
        ]
        measures = [f"gold.{name}" for name in members]
        both = pd.concat(sides, ignore_index=True)
        if both.empty:
            continue
        clusters = Clusters.of(both, measures, across="side")
        means = clusters.mean()
        for column, name in enumerate(members):
            counts = clusters.counts[:, :, column]
            if not counts.any():
                continue
            sums = clusters.sums[:, :, column]
            gap = difference(sums[:, 0], sums[:, 1], counts[:, 0])
            lower = gap.lower(error_rate)
            rows[name] = {
                "candidate": float(means[0, column]),
                "champion": float(means[1, column]),
                "difference": gap.mean,
                "standard_error": gap.error,
                "lower_bound": lower,
                "margin": margins[name],
                "equal_model_passes": gap.power(margins[name], error_rate),
                "prompts": int(counts[:, 0].sum()),
                "groups": gap.groups,
                "holds": lower >= -margins[name],
            }
    return rows


def power(rows: Mapping[str, Mapping[str, Any]]) -> float:
    """Lower bound of the probability that a model equal to the champion passes every test."""
    missed: float = sum(1.0 - row["equal_model_passes"] for row in rows.values())
    return max(0.0, 1.0 - missed)
