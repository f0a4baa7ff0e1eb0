"""Fronts of several objectives: which points no other beats, hypervolume by moocore, and how well a weight controls.

All objectives are maximised. Hypervolume is the volume between the points and a reference point that params fix before
any result is seen; its order depends on that point, so the two are always reported together, and per domain only.
"""

from collections.abc import Sequence

import moocore
import numpy as np

from concord.evaluation.metrics import Interval, interval, rank_correlation


def non_dominated(points: np.ndarray) -> np.ndarray:
    """Mask (points,) of the rows of `points` (points, objectives) that no other matches everywhere and beats once."""
    table = np.asarray(points, dtype=np.float64)
    return np.asarray(moocore.is_nondominated(table, maximise=True, keep_weakly=True), dtype=bool)


def hypervolume(points: np.ndarray, reference: Sequence[float]) -> float:
    """Volume that `points` (points, objectives) dominate above `reference` (objectives,); 0 for points below it."""
    points = np.atleast_2d(np.asarray(points, dtype=np.float64))
    above = points[(points > np.asarray(reference)).all(axis=1)]
    if len(above) == 0:
        return 0.0
    return float(
        moocore.hypervolume(above, ref=np.asarray(reference, dtype=np.float64), maximise=True)
    )


def hypervolume_interval(
    means: np.ndarray, draws: np.ndarray, reference: Sequence[float]
) -> Interval:
    """Hypervolume of `means` (points, objectives); interval of its resamples `draws` (count, points, objectives).

    The maximum over noisy points is biased upwards, the more so the more points there are: compare equal numbers only.
    """
    resampled = np.array([hypervolume(draw, reference) for draw in draws])
    return interval(hypervolume(means, reference), resampled)


def control(weights: Sequence[float], means: np.ndarray, draws: np.ndarray) -> dict[str, object]:
    """How an objective follows its own weight: rank correlation of `weights` (points,) and `means` (points,), range.

    `draws` (count, points) are paired resamples of the means; `range` is the largest mean less the smallest.
    """
    correlation = interval(
        rank_correlation(weights, means),
        np.array([rank_correlation(weights, draw) for draw in draws]),
    )
    return {
        **correlation.named("rank_correlation"),
        "range": float(np.max(means) - np.min(means)),
        "weights": [float(weight) for weight in weights],
        "gold_means": [float(mean) for mean in means],
        "gold_ci_low": [interval(0.0, column).low for column in draws.T],
        "gold_ci_high": [interval(0.0, column).high for column in draws.T],
    }
