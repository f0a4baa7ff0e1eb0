"""How well scores after each step tell right steps from wrong ones, and find where a solution goes wrong first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
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
"""A step is right where its gold is at least this."""


def first_error(gold: np.ndarray) -> int:
    """Index of the first step whose gold is below `CORRECT`, or -1 if there is none; NaN steps are not judged."""
    wrong = np.flatnonzero(np.asarray(gold) < CORRECT)
    return int(wrong[0]) if wrong.size else -1


def first_below(scores: np.ndarray, threshold: float) -> int:
    """Index of the first step that scores below the threshold, or -1 if there is none."""
    below = np.flatnonzero(np.asarray(scores) < threshold)
    return int(below[0]) if below.size else -1


def largest_drop(scores: np.ndarray, start: float) -> int:
    """Index of the step at which the score falls most below the one before it (`start` before the first)."""
    return int(np.argmin(np.diff(np.asarray(scores, dtype=np.float64), prepend=start)))


def step_quality(
    scores: Sequence[np.ndarray],
    gold: Sequence[np.ndarray],
    groups: Sequence[str],
    count: int,
    seed: int,
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
    places = [place for _, place in wrong]
    return {
        "first_error_accuracy": float(
            np.mean([largest_drop(score, start) == place for score, place in wrong])
        ),
        "first_error_prior": Counter(places).most_common(1)[0][1] / len(places),
        "responses_with_error": len(wrong),
    }


@dataclass(frozen=True)
class Located:
    """Where the first errors of some responses are and where they were found, by step (-1: all steps are right)."""

    true: np.ndarray
    found: np.ndarray

    @classmethod
    def of(
        cls, scores: Sequence[np.ndarray], gold: Sequence[np.ndarray], threshold: float
    ) -> Located:
        """The first step that scores below the threshold counts as the error."""
        return cls(
            np.array([first_error(each) for each in gold]),
            np.array([first_below(each, threshold) for each in scores]),
        )

    def f1(self, rows: np.ndarray | slice = slice(None)) -> float:
        """ProcessBench's F1 (arXiv 2412.06559): the harmonic mean of the share of wrong responses whose first error is
        found and the share of right ones that are let pass; NaN unless there are both."""
        hit, wrong = (self.true == self.found)[rows], (self.true >= 0)[rows]
        if not wrong.any() or wrong.all():
            return float("nan")
        on_wrong, on_right = hit[wrong].mean(), hit[~wrong].mean()
        return (
            float(2 * on_wrong * on_right / (on_wrong + on_right)) if on_wrong + on_right else 0.0
        )


def best_threshold(scores: Sequence[np.ndarray], gold: Sequence[np.ndarray]) -> float | None:
    """The threshold with the highest F1, in the middle between two scores; None where right or wrong responses lack."""
    seen = np.unique(np.concatenate([np.asarray(each, dtype=np.float64) for each in scores]))
    candidates = np.unique(np.quantile(seen, np.linspace(0, 1, 201)))
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
    """F1 of first errors at a threshold that was chosen elsewhere, with an interval by group."""
    located, owner = Located.of(scores, gold, threshold), pd.factorize(np.asarray(groups))[0]
    drawn = resamples(int(owner.max()) + 1, count, seed).astype(int)
    draws = np.array(
        [located.f1(np.repeat(np.arange(len(owner)), times[owner])) for times in drawn]
    )
    wrong = located.true >= 0
    return {
        "f1": interval(located.f1(), draws[~np.isnan(draws)]).named(),
        "threshold": threshold,
        "wrong_found": float((located.true == located.found)[wrong].mean())
        if wrong.any()
        else None,
        "right_passed": float((located.true == located.found)[~wrong].mean())
        if not wrong.all()
        else None,
        "wrong": int(wrong.sum()),
        "right": int((~wrong).sum()),
    }


def clustered_area(
    scores: np.ndarray, labels: np.ndarray, owner: np.ndarray, count: int, seed: int
) -> Interval:
    """AUC with an interval that draws whole clusters; `owner` (steps,) numbers the cluster of each step."""
    drawn = resamples(int(owner.max()) + 1, count, seed).astype(int)
    rows = [np.repeat(np.arange(len(owner)), times[owner]) for times in drawn]
    draws = np.array([area_under_curve(scores[row], labels[row]) for row in rows])
    return interval(area_under_curve(scores, labels), draws)
