"""Means with bootstrap intervals over clusters of prompts, and rank statistics.

A resample draws whole clusters (prompts, questions, dialogues) with replacement. All policies and
weights answer the same prompts, so one resample moves all of them together. Differences,
correlations and hypervolumes therefore get paired intervals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd

from concord.stage.errors import DataError

LEVEL = 0.95
"""Coverage of every interval."""


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def named(self, name: str = "value") -> dict[str, float]:
        """The three numbers under their keys in the reports.

        Examples:
            >>> Interval(0.5, 0.4, 0.6).named("gold_mean")
            {'gold_mean': 0.5, 'ci_low': 0.4, 'ci_high': 0.6}
        """
        return {name: self.value, "ci_low": self.low, "ci_high": self.high}

    def excludes(self, value: float = 0.0) -> bool:
        """Whether `value` lies outside of the interval."""
        return self.low > value or self.high < value


def resamples(clusters: int, count: int, seed: int) -> np.ndarray:
    """Number of draws of each cluster in each resample, (count, clusters). Raises DataError without
    clusters.
    """
    if clusters < 1:
        raise DataError(
            "There are no rows to compute an interval from. "
            "Check the number of prompts in params.evaluate."
        )
    drawn = np.random.default_rng(seed).multinomial(
        clusters, np.full(clusters, 1.0 / clusters), size=count
    )
    return np.asarray(drawn, dtype=np.float64)


def interval(value: float, draws: np.ndarray) -> Interval:
    """`value` with the percentile interval of its resamples `draws`, (count,). The bounds are NaN
    if no resample is finite.
    """
    finite = draws[np.isfinite(draws)]
    if finite.size == 0:
        return Interval(float(value), float("nan"), float("nan"))
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(finite, [tail, 100 - tail])
    return Interval(float(value), float(low), float(high))


def _ratio(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.asarray(
        np.divide(sums, counts, out=np.full(np.shape(sums), np.nan), where=counts > 0)
    )


@dataclass(frozen=True)
class Clusters:
    """Sums and counts of every measure per cluster, so that resampling is one matrix product."""

    keys: list[str]
    """Names along the second axis: operating points, or a single name."""
    measures: list[str]
    """Names along the third axis: columns of the table."""
    sums: np.ndarray
    """(clusters, keys, measures), without NaN values"""
    counts: np.ndarray
    """(clusters, keys, measures)"""

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        measures: Sequence[str],
        by: str = "group_id",
        across: str = "point",
    ) -> "Clusters":
        """Clusters a long table by column `by`, with one key for each value of column `across`."""
        rows, _ = pd.factorize(frame[by], sort=True)
        columns, keys = pd.factorize(frame[across])
        values = frame[list(measures)].to_numpy(dtype=np.float64)
        shape = (int(rows.max(initial=-1)) + 1, len(keys), len(measures))
        sums, counts = np.zeros(shape), np.zeros(shape)
        np.add.at(sums, (rows, columns), np.nan_to_num(values, nan=0.0))
        np.add.at(counts, (rows, columns), np.isfinite(values).astype(np.float64))
        return cls([str(key) for key in keys], list(measures), sums, counts)

    def mean(self) -> np.ndarray:
        """Mean over all rows, (keys, measures)."""
        return _ratio(self.sums.sum(axis=0), self.counts.sum(axis=0))

    def bootstrap(self, count: int, seed: int) -> np.ndarray:
        """Means of `count` resamples, (count, keys, measures). All keys and measures share the
        resamples, which pairs them.
        """
        drawn = resamples(len(self.sums), count, seed)
        return _ratio(
            np.tensordot(drawn, self.sums, axes=1), np.tensordot(drawn, self.counts, axes=1)
        )


def mean_interval(values: np.ndarray, groups: Sequence[str], count: int, seed: int) -> Interval:
    """Mean of `values`, (rows,), with an interval clustered by `groups`, (rows,)."""
    frame = pd.DataFrame(
        {"value": np.asarray(values, dtype=np.float64), "group_id": list(groups), "point": "all"}
    )
    clusters = Clusters.of(frame, ["value"])
    return interval(clusters.mean()[0, 0], clusters.bootstrap(count, seed)[:, 0, 0])


def wilson(share: float, count: int) -> Interval:
    """Wilson's score interval of a share of `count` independent trials (Wilson 1927).

    Unlike a bootstrap, it has a width if all trials come out the same. Raises DataError without
    trials.

    Examples:
        >>> f"{wilson(1.0, 10).low:.4f}"
        '0.7225'
    """
    if count < 1:
        raise DataError("a share of nothing has no interval; give at least one comparison")
    squared = NormalDist().inv_cdf(0.5 + LEVEL / 2) ** 2
    centre = (share + squared / (2 * count)) / (1 + squared / count)
    variance = share * (1 - share) / count + squared / (4 * count**2)
    half = (squared * variance) ** 0.5 / (1 + squared / count)
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def rank_correlation(
    first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray
) -> float:
    """Spearman's rank correlation. Ties share their mean rank; the result is 0 if a side is
    constant.

    Examples:
        >>> rank_correlation([1, 2, 3], [5, 7, 6])
        0.5
    """
    one, two = (
        pd.Series(np.asarray(side, dtype=np.float64)).rank().to_numpy() for side in (first, second)
    )
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(two) == 0:
        return 0.0
    return float(np.clip(np.corrcoef(one, two)[0, 1], -1.0, 1.0))


def area_under_curve(scores: np.ndarray, labels: np.ndarray) -> float:
    """Probability that a random positive scores above a random negative.

    Ties count one half; the result is NaN if a class is missing.

    Examples:
        >>> area_under_curve(np.array([0.9, 0.4, 0.5, 0.4]), np.array([1, 1, 0, 0]))
        0.625
    """
    positive = np.asarray(labels, dtype=bool)
    ones, zeros = int(positive.sum()), int((~positive).sum())
    if ones == 0 or zeros == 0:
        return float("nan")
    ranks = pd.Series(np.asarray(scores, dtype=np.float64)).rank().to_numpy()
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))
