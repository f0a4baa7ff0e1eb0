"""Picking one of N answers to a problem that can be checked: by scores, by the vote, or by a vote that scores weigh.

Ways: `random` the mean; `majority` the commonest final answer; `scorer` the highest score; `weighted_vote` the final
answer with the largest sum of scores (Li et al., arXiv 2206.02336); `outcome` the highest score of an outcome model,
where there is one; `oracle` a right one, where there is any. All see the same N answers, so the tokens are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tasks.evaluation.metrics import Clusters, interval

WAYS = ("random", "majority", "scorer", "weighted_vote", "outcome", "oracle")
GAINS = (("scorer", "majority"), ("scorer", "outcome"), ("weighted_vote", "majority"))
"""Paired differences that are reported: the first less the second."""


def sizes(most: int) -> list[int]:
    """How many answers are picked from: 1, 2, 4, ... and all."""
    return sorted({2**power for power in range(most.bit_length()) if 2**power < most} | {most})


def best_of(
    size: int, scores: np.ndarray, correct: np.ndarray, answers: np.ndarray, outcome: np.ndarray | None = None
) -> pd.DataFrame:
    """What picking one of `size` answers yields, arrays (problems, N) each: one row per problem, one column per way.

    `answers` are ballots, None where no answer could be read; `scores` are at least 0 and weigh the vote. Of N answers
    so many are taken as a window that begins at each of them in turn, and the mean over the windows is reported.
    """
    most = scores.shape[1]
    windows = [np.arange(start, start + size) % most for start in range(most if size < most else 1)]
    tables = [
        _one(scores[:, own], correct[:, own], answers[:, own], None if outcome is None else outcome[:, own])
        for own in windows
    ]
    return pd.concat(tables).groupby(level=0).mean()


def _one(scores: np.ndarray, correct: np.ndarray, answers: np.ndarray, outcome: np.ndarray | None) -> pd.DataFrame:
    rows = np.arange(len(scores))
    table = pd.DataFrame({
        "random": correct.mean(axis=1),
        "majority": correct[rows, [_voted(row, np.ones(len(row))) for row in answers]],
        "scorer": correct[rows, scores.argmax(axis=1)],
        "weighted_vote": correct[rows, [_voted(*row) for row in zip(answers, scores, strict=True)]],
        "oracle": correct.max(axis=1),
    })  # fmt: skip
    return table if outcome is None else table.assign(outcome=correct[rows, outcome.argmax(axis=1)])


def _voted(answers: Sequence[str | None], weights: np.ndarray) -> int:
    """Place of the first answer that says what most weight is for; one that could not be read has no vote."""
    votes: dict[str, float] = {}
    for answer, weight in zip(answers, weights, strict=True):
        if answer is not None:
            votes[answer] = votes.get(answer, 0.0) + float(weight)
    return list(answers).index(max(votes, key=votes.__getitem__)) if votes else 0


def report(table: pd.DataFrame, groups: Sequence[str], count: int, seed: int) -> dict[str, Any]:
    """Means of `best_of` with intervals by group, and the paired gains, as `gain_of_<way>_over_<rival>`."""
    names = list(table.columns)
    clusters = Clusters.of(table.assign(group_id=list(groups), point="all"), names)
    mean, draws = clusters.mean()[0], clusters.bootstrap(count, seed)[:, 0]
    places = {name: place for place, name in enumerate(names)}
    gains = {
        f"gain_of_{way}_over_{rival}": interval(mean[one] - mean[other], draws[:, one] - draws[:, other]).named()
        for way, rival in GAINS
        if rival in places
        for one, other in [(places[way], places[rival])]
    }
    return {**{name: interval(mean[place], draws[:, place]).named() for name, place in places.items()}, **gains}


def report_by_size(
    scores: np.ndarray,
    correct: np.ndarray,
    answers: np.ndarray,
    outcome: np.ndarray | None,
    groups: Sequence[str],
    count: int,
    seed: int,
) -> dict[str, Any]:
    """`report` of picking from all N answers, and under `by_size` from fewer of them; arrays as in `best_of`."""
    found = {
        str(size): report(best_of(size, scores, correct, answers, outcome), groups, count, seed)
        for size in sizes(scores.shape[1])
    }
    return {"n": scores.shape[1], "questions": len(scores), **found[str(scores.shape[1])], "by_size": found}
