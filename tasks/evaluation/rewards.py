"""How good reward models are: pair accuracy between its baseline and its ceiling, how well scores follow people's
grades, and what picking the best of N gains.

On the locked world every pair carries the annotators' own probability p, so the best possible pair accuracy, the mean
of max(p, 1 - p), is known; normalised accuracy is (accuracy - length baseline) / (ceiling - length baseline).
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tasks.evaluation.metrics import Clusters, area_under_curve, interval, rank_correlation
from tasks.evaluation.steps import clustered_area

FIGURES = (
    "pair_accuracy", "ci_low", "ci_high", "length_baseline", "ceiling",
    "normalised_accuracy", "normalised_ci_low", "normalised_ci_high", "gold_rank_correlation",
)  # fmt: skip
"""What is said of judged pairs; unknown, each of them, where there are none."""
GOOD = 0.5
"""A grade on [0, 1] of at least this is a good one."""


def pair_hits(chosen: np.ndarray, rejected: np.ndarray) -> np.ndarray:
    """1 where the chosen side scores above the rejected one, 0.5 where both score the same, else 0; (pairs,)."""
    return np.heaviside(np.asarray(chosen, dtype=np.float64) - np.asarray(rejected, dtype=np.float64), 0.5)


def quality(pairs: pd.DataFrame, chosen: np.ndarray, rejected: np.ndarray, count: int, seed: int) -> dict[str, Any]:
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
            np.concatenate([chosen, rejected]), np.concatenate([pairs["gold_chosen"], pairs["gold_rejected"]])
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


def grade_quality(graded: pd.DataFrame, scores: np.ndarray, count: int, seed: int) -> dict[str, Any] | None:
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
    return float((accuracy - baseline) / (ceiling - baseline)) if ceiling > baseline else float("nan")


def best_of(
    scores: np.ndarray, correct: np.ndarray, answers: np.ndarray, outcome: np.ndarray | None = None
) -> pd.DataFrame:
    """What picking one of N answers yields, arrays (questions, N) each: one row per question.

    random: the mean; majority: the commonest final answer (of equals, the one given first); scorer: the highest score;
    outcome: the highest score of an outcome model, where there is one; oracle: whether any is right.
    """
    rows = np.arange(len(scores))
    voted = [_majority(list(row)) for row in answers]
    table = pd.DataFrame({
        "random": correct.mean(axis=1),
        "majority": correct[rows, voted],
        "scorer": correct[rows, scores.argmax(axis=1)],
        "oracle": correct.max(axis=1),
    })  # fmt: skip
    return table if outcome is None else table.assign(outcome=correct[rows, outcome.argmax(axis=1)])


def _majority(answers: list[str | None]) -> int:
    """Place of the first answer that agrees with the most others; an answer that could not be read gets no vote."""
    votes = Counter(answer for answer in answers if answer is not None)
    return answers.index(votes.most_common(1)[0][0]) if votes else 0


def best_of_report(table: pd.DataFrame, groups: Sequence[str], count: int, seed: int) -> dict[str, Any]:
    """Means of `best_of` with intervals by question, and the scorer's paired gain over the majority and over the
    outcome model (`gain_over_majority`, `gain_over_outcome`)."""
    names = list(table.columns)
    clusters = Clusters.of(table.assign(group_id=list(groups), point="all"), names)
    mean, draws = clusters.mean()[0], clusters.bootstrap(count, seed)[:, 0]
    scorer = names.index("scorer")
    gains = {
        f"gain_over_{name}": interval(mean[scorer] - mean[place], draws[:, scorer] - draws[:, place]).named()
        for place, name in enumerate(names)
        if name in ("majority", "outcome")
    }
    means = {name: interval(mean[place], draws[:, place]).named() for place, name in enumerate(names)}
    return {**means, **gains, "questions": len(table)}
