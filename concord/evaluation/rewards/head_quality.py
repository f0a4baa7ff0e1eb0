"""Quality of reward models: pair accuracy between baseline and ceiling, and agreement with grades.

On the locked world every pair has the annotators' probability p, so the best possible pair
accuracy, the mean of max(p, 1 - p), is known. Normalised accuracy is (accuracy - length baseline) /
(ceiling - length baseline).
"""

from typing import Any

import numpy as np
import pandas as pd

from concord.evaluation.metrics import Clusters, area_under_curve, interval, rank_correlation
from concord.evaluation.rewards.step_quality import clustered_area

FIGURES = (
    "pair_accuracy", "ci_low", "ci_high", "length_baseline", "ceiling",
    "normalised_accuracy", "normalised_ci_low", "normalised_ci_high", "gold_rank_correlation",
)  # fmt: skip
"""Figures of judged pairs; all are NaN without pairs."""
GOOD = 0.5
"""Grades on [0, 1] of at least this value are good."""


def pair_hits(chosen: np.ndarray, rejected: np.ndarray) -> np.ndarray:
    """1 if the chosen side scores higher, 0.5 for a tie, else 0, (pairs,).

    Examples:
        >>> pair_hits(np.array([2.0, 1.0, 0.0]), np.array([1.0, 1.0, 1.0])).tolist()
        [1.0, 0.5, 0.0]
    """
    return np.heaviside(
        np.asarray(chosen, dtype=np.float64) - np.asarray(rejected, dtype=np.float64), 0.5
    )


def quality(
    pairs: pd.DataFrame, chosen: np.ndarray, rejected: np.ndarray, count: int, seed: int
) -> dict[str, Any]:
    """Report of one objective over judged pairs, given the scores (pairs,) of both sides.

    `pairs` has the columns `chosen`, `rejected`, `group_id`, and from the locked world also `p`,
    `gold_chosen`, `gold_rejected`.
    """
    if pairs.empty:
        return {**dict.fromkeys(FIGURES, float("nan")), "pairs": 0}
    known = "p" in pairs.columns
    lengths = (pairs[side].str.len().to_numpy() for side in ("chosen", "rejected"))
    table = pd.DataFrame(
        {
            "group_id": pairs["group_id"].to_numpy(),
            "point": "all",
            "accuracy": pair_hits(chosen, rejected),
            "length": pair_hits(*lengths),
            "ceiling": pairs["p"].map(lambda p: max(p, 1 - p)).to_numpy() if known else np.nan,
        }
    )
    clusters = Clusters.of(table, ["accuracy", "length", "ceiling"])
    mean, draws = clusters.mean()[0], clusters.bootstrap(count, seed)[:, 0]
    normalised = interval(normalise(*mean), np.array([normalise(*draw) for draw in draws]))
    gold = np.nan
    if known:
        gold = rank_correlation(
            np.concatenate([chosen, rejected]),
            np.concatenate([pairs["gold_chosen"], pairs["gold_rejected"]]),
        )
    return {
        **interval(mean[0], draws[:, 0]).named("pair_accuracy"),
        "length_baseline": mean[1],
        "ceiling": mean[2],
        "normalised_accuracy": normalised.value,
        "normalised_ci_low": normalised.low,
        "normalised_ci_high": normalised.high,
        "gold_rank_correlation": gold,
        "pairs": len(pairs),
    }


def grade_quality(
    graded: pd.DataFrame, scores: np.ndarray, count: int, seed: int
) -> dict[str, Any] | None:
    """How scores, (grades,), follow people's grades of single answers; None without grades.

    `graded` has the columns `response`, `rating`, `group_id`. `auc` is the probability that a good
    answer scores above a bad one, across prompts, with an interval by group. `length_auc` is the
    same for the length as the score. Both are NaN if all answers are good or all are bad.
    """
    if graded.empty:
        return None
    rating = graded["rating"].to_numpy(dtype=np.float64)
    good, owner = rating >= GOOD, pd.factorize(graded["group_id"])[0]
    return {
        **clustered_area(scores, good, owner, count, seed).named("auc"),
        "length_auc": area_under_curve(graded["response"].str.len().to_numpy(), good),
        "rank_correlation": rank_correlation(scores, rating),
        "good_share": float(good.mean()),
        "grades": len(graded),
    }


def normalise(accuracy: float, baseline: float, ceiling: float) -> float:
    """Position of `accuracy` between baseline (0) and ceiling (1); NaN if the ceiling is not
    higher.

    Examples:
        >>> normalise(0.75, 0.5, 1.0)
        0.5
    """
    return (
        float((accuracy - baseline) / (ceiling - baseline)) if ceiling > baseline else float("nan")
    )
