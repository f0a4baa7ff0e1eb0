"""Means with intervals: a bootstrap over clusters of prompts, paired by common resamples, and rank correlation.

A resample draws whole clusters (prompts, questions, dialogues) with replacement; because every policy and weight
answers the same prompts, one resample moves all of them together, so differences, correlations and hypervolumes get
paired intervals.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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
        """The three numbers as they stand in the reports."""
        return {name: self.value, "ci_low": self.low, "ci_high": self.high}

    def excludes(self, value: float = 0.0) -> bool:
        """Whether the interval lies wholly on one side of `value`."""
        return self.low > value or self.high < value


def resamples(clusters: int, count: int, seed: int) -> np.ndarray:
    """How often each cluster is drawn in each resample, shape (count, clusters)."""
    if clusters < 1:
        raise DataError(
            "There are no rows to take an interval over; check the number of prompts in params.evaluate."
        )
    drawn = np.random.default_rng(seed).multinomial(
        clusters, np.full(clusters, 1.0 / clusters), size=count
    )
    return np.asarray(drawn, dtype=np.float64)


def interval(value: float, draws: np.ndarray) -> Interval:
    """`value` with the percentile interval of its resamples `draws` (count,); NaN where nothing was drawn."""
    seen = draws[np.isfinite(draws)]
    if seen.size == 0:
        return Interval(float(value), float("nan"), float("nan"))
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(seen, [tail, 100 - tail])
    return Interval(float(value), float(low), float(high))


def _ratio(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.asarray(
        np.divide(sums, counts, out=np.full(np.shape(sums), np.nan), where=counts > 0)
    )


@dataclass(frozen=True)
class Clusters:
    """Sums and counts of every measure per cluster, so that a resample of clusters is one matrix product."""

    keys: list[str]
    """Names along the second axis: operating points, or one name."""
    measures: list[str]
    """Names along the third axis: columns of the table."""
    sums: np.ndarray
    """(clusters, keys, measures); NaN values count for nothing."""
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
        """Cluster a long table by column `by`, one key for each value of column `across`."""
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
        """Means of `count` resamples, (count, keys, measures); the same seed pairs every key and measure."""
        drawn = resamples(len(self.sums), count, seed)
        return _ratio(
            np.tensordot(drawn, self.sums, axes=1), np.tensordot(drawn, self.counts, axes=1)
        )


def mean_interval(values: np.ndarray, groups: Sequence[str], count: int, seed: int) -> Interval:
    """Mean of `values` (rows,) with an interval clustered by `groups` (rows,)."""
    frame = pd.DataFrame(
        {"value": np.asarray(values, dtype=np.float64), "group_id": list(groups), "point": "all"}
    )
    clusters = Clusters.of(frame, ["value"])
    return interval(clusters.mean()[0, 0], clusters.bootstrap(count, seed)[:, 0, 0])


def rank_correlation(
    first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray
) -> float:
    """Spearman's rank correlation, ties sharing their mean rank; 0 where one side never moves."""
    one, two = (
        pd.Series(np.asarray(side, dtype=np.float64)).rank().to_numpy() for side in (first, second)
    )
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(two) == 0:
        return 0.0
    return float(np.clip(np.corrcoef(one, two)[0, 1], -1.0, 1.0))


def area_under_curve(scores: np.ndarray, labels: np.ndarray) -> float:
    """Probability that a random positive scores above a random negative, ties one half; NaN if one class is missing."""
    positive = np.asarray(labels, dtype=bool)
    ones, zeros = int(positive.sum()), int((~positive).sum())
    if ones == 0 or zeros == 0:
        return float("nan")
    ranks = pd.Series(np.asarray(scores, dtype=np.float64)).rank().to_numpy()
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))
