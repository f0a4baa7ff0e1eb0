"""How good reward models are: pair accuracy between its baseline and its ceiling, and what steps and best-of-N gain.

On the locked world every pair carries the annotators' own probability p, so the best possible pair accuracy, the mean
of max(p, 1 - p), is known; normalised accuracy is (accuracy - length baseline) / (ceiling - length baseline).
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tasks.evaluation.metrics import Clusters, Interval, area_under_curve, interval, rank_correlation, resamples

CORRECT = 0.5
"""A step is right where its gold or its score is at least this."""


def pair_hits(chosen: np.ndarray, rejected: np.ndarray) -> np.ndarray:
    """1 where the chosen side scores above the rejected one, 0.5 where both score the same, else 0; (pairs,)."""
    return np.heaviside(np.asarray(chosen, dtype=np.float64) - np.asarray(rejected, dtype=np.float64), 0.5)


def quality(pairs: pd.DataFrame, chosen: np.ndarray, rejected: np.ndarray, count: int, seed: int) -> dict[str, Any]:
    """One objective's report over judged pairs with scores (pairs,) of both sides.

    Columns `chosen`, `rejected`, `group_id`; from the locked world also `p`, `gold_chosen`, `gold_rejected`.
    """
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


def normalise(accuracy: float, baseline: float, ceiling: float) -> float:
    """Where `accuracy` lies between the baseline (0) and the ceiling (1); NaN where there is no room between them."""
    return float((accuracy - baseline) / (ceiling - baseline)) if ceiling > baseline else float("nan")


def first_error(gold: np.ndarray) -> int:
    """Index of the first step whose gold is below `CORRECT`, or -1 if there is none; NaN steps are not judged."""
    wrong = np.flatnonzero(np.asarray(gold) < CORRECT)
    return int(wrong[0]) if wrong.size else -1


def largest_drop(scores: np.ndarray, start: float) -> int:
    """Index of the step at which the score falls most below the one before it (`start` before the first)."""
    return int(np.argmin(np.diff(np.asarray(scores, dtype=np.float64), prepend=start)))


def step_quality(
    scores: Sequence[np.ndarray], gold: Sequence[np.ndarray], groups: Sequence[str], count: int, seed: int
) -> dict[str, Any]:
    """Scores of the steps of responses, (steps,) each, against gold: AUC over steps and rank correlation."""
    known = [np.isfinite(each) for each in gold]
    flat_scores = np.concatenate([s[k] for s, k in zip(scores, known, strict=True)])
    flat_gold = np.concatenate([g[k] for g, k in zip(gold, known, strict=True)])
    owner = np.repeat(pd.factorize(np.asarray(groups))[0], [int(k.sum()) for k in known])
    return {
        **clustered_area(flat_scores, flat_gold >= CORRECT, owner, count, seed).named("auc"),
        "rank_correlation": rank_correlation(flat_scores, flat_gold),
        "right_share": float((flat_gold >= CORRECT).mean()),
        "steps": len(flat_gold),
        "responses": len(gold),
    }


def error_location(scores: Sequence[np.ndarray], gold: Sequence[np.ndarray]) -> dict[str, Any]:
    """In responses with a wrong step: how often the first one is where the score drops most.

    `first_error_prior` is the share found by who always names the commonest place of those responses.
    """
    wrong = [(score, first_error(each)) for score, each in zip(scores, gold, strict=True) if first_error(each) >= 0]
    if not wrong:
        return {"first_error_accuracy": float("nan"), "first_error_prior": float("nan"), "responses_with_error": 0}
    start = float(np.mean([score[0] for score in scores]))
    places = [place for _, place in wrong]
    return {
        "first_error_accuracy": float(np.mean([largest_drop(score, start) == place for score, place in wrong])),
        "first_error_prior": Counter(places).most_common(1)[0][1] / len(places),
        "responses_with_error": len(wrong),
    }


def clustered_area(scores: np.ndarray, labels: np.ndarray, owner: np.ndarray, count: int, seed: int) -> Interval:
    """AUC with an interval that draws whole clusters; `owner` (steps,) numbers the cluster of each step."""
    drawn = resamples(int(owner.max()) + 1, count, seed).astype(int)
    rows = [np.repeat(np.arange(len(owner)), times[owner]) for times in drawn]
    draws = np.array([area_under_curve(scores[row], labels[row]) for row in rows])
    return interval(area_under_curve(scores, labels), draws)


def best_of(scores: np.ndarray, correct: np.ndarray, answers: np.ndarray) -> pd.DataFrame:
    """What picking one of N answers yields, arrays (questions, N) each: one row per question.

    random: the mean; majority: the commonest final answer (of equals, the one given first); scorer: the highest score;
    oracle: whether any is right.
    """
    rows = np.arange(len(scores))
    voted = [_majority(list(row)) for row in answers]
    return pd.DataFrame({
        "random": correct.mean(axis=1),
        "majority": correct[rows, voted],
        "scorer": correct[rows, scores.argmax(axis=1)],
        "oracle": correct.max(axis=1),
    })  # fmt: skip


def _majority(answers: list[str | None]) -> int:
    """Place of the first answer that agrees with the most others; an answer that could not be read gets no vote."""
    votes = Counter(answer for answer in answers if answer is not None)
    return answers.index(votes.most_common(1)[0][0]) if votes else 0


def best_of_report(table: pd.DataFrame, groups: Sequence[str], count: int, seed: int) -> dict[str, Any]:
    """Means of `best_of` with intervals by question, and the paired gain of the scorer over the majority."""
    names = ["random", "majority", "scorer", "oracle"]
    clusters = Clusters.of(table.assign(group_id=list(groups), point="all"), names)
    mean, draws = clusters.mean()[0], clusters.bootstrap(count, seed)[:, 0]
    gain = interval(mean[2] - mean[1], draws[:, 2] - draws[:, 1])
    return {
        **{name: interval(mean[place], draws[:, place]).named() for place, name in enumerate(names)},
        "gain_over_majority": gain.named(),
        "questions": len(table),
    }
