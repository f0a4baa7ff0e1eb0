"""Quality of step scores: separation of right from wrong steps, and location of the first error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from concord.evaluation.metrics import (
    Interval,
    area_under_curve,
    interval,
    rank_correlation,
    resamples,
)

CORRECT = 0.5
"""Steps with a gold of at least this value are right."""


def first_error(gold: np.ndarray) -> int:
    """Index of the first step with gold below `CORRECT`, or -1; NaN steps are not judged.

    Examples:
        >>> first_error(np.array([1.0, 0.0, 0.0])), first_error(np.array([1.0, np.nan]))
        (1, -1)
    """
    wrong = np.flatnonzero(np.asarray(gold) < CORRECT)
    return int(wrong[0]) if wrong.size else -1


def first_below(scores: np.ndarray, threshold: float) -> int:
    """Index of the first step with a score below `threshold`, or -1."""
    below = np.flatnonzero(np.asarray(scores) < threshold)
    return int(below[0]) if below.size else -1


def largest_drop(scores: np.ndarray, start: float) -> int:
    """Index of the step whose score drops most from the one before (`start` before the first).

    Examples:
        >>> largest_drop(np.array([0.9, 0.3, 0.2]), start=0.8)
        1
    """
    return int(np.argmin(np.diff(np.asarray(scores, dtype=np.float64), prepend=start)))


def step_quality(
    scores: Sequence[np.ndarray],
    gold: Sequence[np.ndarray],
    groups: Sequence[str],
    count: int,
    seed: int,
) -> dict[str, Any]:
    """Scores of steps against gold, (steps,) per response: AUC over steps, and rank correlation."""
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
    """Over responses with a wrong step: how often the largest drop is at the first wrong step.

    `first_error_prior` is the accuracy of always choosing the most common position of those
    responses.
    """
    wrong = [
        (score, first_error(each))
        for score, each in zip(scores, gold, strict=True)
        if first_error(each) >= 0
    ]
    if not wrong:
        return {
            "first_error_accuracy": float("nan"),
            "first_error_prior": float("nan"),
            "responses_with_error": 0,
        }
    start = float(np.mean([score[0] for score in scores]))
    positions = [position for _, position in wrong]
    return {
        "first_error_accuracy": float(
            np.mean([largest_drop(score, start) == position for score, position in wrong])
        ),
        "first_error_prior": Counter(positions).most_common(1)[0][1] / len(positions),
        "responses_with_error": len(wrong),
    }


@dataclass(frozen=True)
class Located:
    """True and predicted first errors of responses, as step indices (-1: no error)."""

    true: np.ndarray
    predicted: np.ndarray

    @classmethod
    def of(
        cls, scores: Sequence[np.ndarray], gold: Sequence[np.ndarray], threshold: float
    ) -> Located:
        """Predicts the first step with a score below `threshold` as the error."""
        return cls(
            np.array([first_error(each) for each in gold]),
            np.array([first_below(each, threshold) for each in scores]),
        )

    def f1(self, rows: np.ndarray | slice = slice(None)) -> float:
        """ProcessBench's F1 (arXiv 2412.06559); NaN unless there are right and wrong responses.

        It is the harmonic mean of the share of wrong responses whose first error is found and the
        share of right responses without a predicted error.
        """
        hit, wrong = (self.true == self.predicted)[rows], (self.true >= 0)[rows]
        if not wrong.any() or wrong.all():
            return float("nan")
        on_wrong, on_right = hit[wrong].mean(), hit[~wrong].mean()
        return (
            float(2 * on_wrong * on_right / (on_wrong + on_right)) if on_wrong + on_right else 0.0
        )


def best_threshold(scores: Sequence[np.ndarray], gold: Sequence[np.ndarray]) -> float | None:
    """The threshold with the highest F1, halfway between two scores; None if F1 is undefined."""
    distinct = np.unique(np.concatenate([np.asarray(each, dtype=np.float64) for each in scores]))
    candidates = np.unique(np.quantile(distinct, np.linspace(0, 1, 201)))
    between = np.concatenate([(candidates[:-1] + candidates[1:]) / 2, [candidates[-1] + 1e-6]])
    values = np.array([Located.of(scores, gold, threshold).f1() for threshold in between])
    return None if np.isnan(values).all() else float(between[np.nanargmax(values)])


def processbench(
    scores: Sequence[np.ndarray],
    gold: Sequence[np.ndarray],
    groups: Sequence[str],
    threshold: float,
    count: int,
    seed: int,
) -> dict[str, Any]:
    """F1 of first errors at a threshold chosen on other data, with an interval by group."""
    located = Located.of(scores, gold, threshold)
    wrong, hit = located.true >= 0, located.true == located.predicted
    return {
        "f1": located_f1(located, groups, count, seed).named(),
        "threshold": threshold,
        "wrong_found": float(hit[wrong].mean()) if wrong.any() else None,
        "right_passed": float(hit[~wrong].mean()) if not wrong.all() else None,
        "wrong": int(wrong.sum()),
        "right": int((~wrong).sum()),
    }


def located_f1(located: Located, groups: Sequence[str], count: int, seed: int) -> Interval:
    """F1 of first errors with an interval by group, (responses,)."""
    owner = pd.factorize(np.asarray(groups))[0]
    return clustered(lambda rows: located.f1(rows), owner, count, seed)


def clustered(
    statistic: Callable[[np.ndarray], float], owner: np.ndarray, count: int, seed: int
) -> Interval:
    """A statistic of rows with an interval over clusters.

    Args:
        statistic: indices of rows -> its value on these rows; NaN if it is undefined.
        owner: the cluster index of each row, (rows,).
        count: the number of resamples.
        seed: the seed of the resamples.
    """
    drawn = resamples(int(owner.max()) + 1, count, seed).astype(int)
    every = np.arange(len(owner))
    draws = np.array([statistic(np.repeat(every, times[owner])) for times in drawn])
    return interval(statistic(every), draws[~np.isnan(draws)])


def clustered_area(
    scores: np.ndarray, labels: np.ndarray, owner: np.ndarray, count: int, seed: int
) -> Interval:
    """AUC with an interval over clusters; `owner`, (steps,), is the cluster index of each step."""
    return clustered(lambda rows: area_under_curve(scores[rows], labels[rows]), owner, count, seed)
