"""Fronts of several objectives: non-dominated points, hypervolume, and control by weights.

All objectives are maximised. The hypervolume (by moocore) is the volume between the points and a
reference point. The ranking depends on the reference point, so params fix it before any result is
seen, and both are reported together, per domain.
"""

from collections.abc import Sequence

import moocore
import numpy as np

from concord.evaluation.metrics import Interval, interval, rank_correlation


def non_dominated(points: np.ndarray) -> np.ndarray:
    """Mask, (points,), of the non-dominated rows of `points`, (points, objectives). A row is
    dominated if another row is nowhere worse and somewhere better.
    """
    table = np.asarray(points, dtype=np.float64)
    return np.asarray(moocore.is_nondominated(table, maximise=True, keep_weakly=True), dtype=bool)


def hypervolume(points: np.ndarray, reference: Sequence[float]) -> float:
    """Volume that `points`, (points, objectives), dominate above `reference`, (objectives,).

    Points that are not above the reference everywhere add nothing.

    Examples:
        >>> hypervolume(np.array([[2.0, 1.0], [1.0, 2.0]]), [0.0, 0.0])
        3.0
    """
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
    """Hypervolume of `means`, (points, objectives), with an interval.

    `draws`, (count, points, objectives), are resamples of the means. The hypervolume of noisy
    points is biased upwards, and more so for more points. Compare equal numbers of points only.
    """
    resampled = np.array([hypervolume(draw, reference) for draw in draws])
    return interval(hypervolume(means, reference), resampled)


def control(weights: Sequence[float], means: np.ndarray, draws: np.ndarray) -> dict[str, object]:
    """How an objective follows its weight: rank correlation and range.

    `weights` and `means` are (points,); `draws`, (count, points), are paired resamples of the
    means. `range` is the largest mean minus the smallest.
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
