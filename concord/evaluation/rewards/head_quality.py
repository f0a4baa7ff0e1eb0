"""How good reward models are: pair accuracy between its baseline and its ceiling, and how well scores follow people's
grades.

On the locked world every pair carries the annotators' own probability p, so the best possible pair accuracy, the mean
of max(p, 1 - p), is known; normalised accuracy is (accuracy - length baseline) / (ceiling - length baseline).
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
"""What is said of judged pairs; unknown, each of them, where there are none."""
GOOD = 0.5
"""A grade on [0, 1] of at least this is a good one."""


def pair_hits(chosen: np.ndarray, rejected: np.ndarray) -> np.ndarray:
    """1 where the chosen side scores above the rejected one, 0.5 where both score the same, else 0; (pairs,)."""
    return np.heaviside(
        np.asarray(chosen, dtype=np.float64) - np.asarray(rejected, dtype=np.float64), 0.5
    )


def quality(
    pairs: pd.DataFrame, chosen: np.ndarray, rejected: np.ndarray, count: int, seed: int
) -> dict[str, Any]:
    """One objective's report over judged pairs with scores (pairs,) of both sides.

    Columns `chosen`, `rejected`, `group_id`; from the locked world also `p`, `gold_chosen`, `gold_rejected`.
    """
    if pairs.empty:
        return {**dict.fromkeys(FIGURES, float("nan")), "pairs": 0}
    known = "p" in pairs.columns
    table = pd.DataFrame({
        "group_id": pairs["group_id"].to_numpy(), "point": "all",
        "accuracy": pair_hits(chosen, rejected),
        "length": pair_hits(pairs["chosen"].str.len().to_numpy(), pairs["rejected"].str.len().to_numpy()),
        "ceiling": pairs["p"].map(lambda p: max(p, 1 - p)).to_numpy() if known else np.nan,
    })  # fmt: skip
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
    """How scores (grades,) follow people's grades of single answers (columns `response`, `rating`, `group_id`); None
    where there are none.

    `auc`: how often a good answer, whichever prompt it answers, scores above a bad one, with an interval by group;
    `length_auc`: how often it is the longer one. NaN where all are good or all are bad.
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
    """Where `accuracy` lies between the baseline (0) and the ceiling (1); NaN where there is no room between them."""
    return (
        float((accuracy - baseline) / (ceiling - baseline)) if ceiling > baseline else float("nan")
    )
