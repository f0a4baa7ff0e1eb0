"""Picking one of N answers to a problem that can be checked: by scores, by the vote, or by a vote that scores weigh.

Whoever gives no answer has no vote and is picked last; equals share the pick. All ways see the same N answers, so the
tokens are equal. Answers are rows of a table with the columns problem, group_id, final (`concord.evaluation.rewards.votes`) and
correct.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from concord.evaluation.metrics import Clusters, interval

WAYS = {
    "random": "any at random",
    "majority": "majority",
    "scorer": "by the scores",
    "weighted_vote": "weighted vote",
    "outcome": "outcome model",
    "oracle": "the best there is",
}
"""The mean; the commonest final answer; the highest score; the final answer with the largest sum of scores (Li et al.,
arXiv 2206.02336); the highest score of an outcome model, where there is one; a right one, where there is any."""
GAINS = {
    ("scorer", "majority"): "scores over majority",
    ("weighted_vote", "majority"): "weighted vote over majority",
    ("scorer", "outcome"): "scores over outcome model",
}
"""Paired differences that are reported: the first less the second."""


def sizes(most: int) -> list[int]:
    """How many answers are picked from: 1, 2, 4, ... and all."""
    return sorted({2**power for power in range(most.bit_length()) if 2**power < most} | {most})


def best_of(size: int, answers: pd.DataFrame) -> pd.DataFrame:
    """What picking one of `size` answers yields: one row per problem, one column per way, and `group_id`.

    `answers`: N to each problem, with the further columns `score` of at least 0, which weighs the vote, and `outcome`
    where there is an outcome model. Of N so many are taken as a window that begins at each of them in turn, and the
    mean over the windows is reported.
    """
    place = answers.groupby("problem").cumcount().to_numpy()
    most = int(place.max()) + 1
    windows = [(place - start) % most < size for start in range(most if size < most else 1)]
    found = pd.concat([_one(answers[window]) for window in windows])
    return found.groupby(level=0).agg(dict.fromkeys(found.columns, "mean") | {"group_id": "first"})


def _one(answers: pd.DataFrame) -> pd.DataFrame:
    """All of the answers to each problem are picked from."""
    scores = {
        "random": np.zeros(len(answers)),
        "majority": tally(answers, np.ones(len(answers))),
        "scorer": readable(answers, answers["score"].to_numpy()),
        "weighted_vote": tally(answers, answers["score"].to_numpy()),
        "oracle": answers["correct"].to_numpy(),
    }
    if "outcome" in answers:
        scores["outcome"] = readable(answers, answers["outcome"].to_numpy())
    tables = {way: picks(answers, own) for way, own in scores.items()}
    return tables["random"][["group_id"]].assign(
        **{way: table["correct"] for way, table in tables.items()}
    )


def tally(answers: pd.DataFrame, weights: np.ndarray) -> np.ndarray:
    """For each answer (answers,) the weight of all answers to its problem that say the same, 0 where none is read."""
    sums = answers.assign(weight=weights).groupby(["problem", "final"])["weight"].transform("sum")
    return sums.fillna(0.0).to_numpy(dtype=float)


def readable(answers: pd.DataFrame, scores: np.ndarray) -> np.ndarray:
    """The scores (answers,), but whoever gives no answer comes last."""
    return np.where(answers["final"].isna(), -np.inf, scores)


def picks(answers: pd.DataFrame, scores: np.ndarray) -> pd.DataFrame:
    """By problem: `correct` of the highest-scored answer, the mean over equals, and `group_id`."""
    frame = answers.assign(score=scores)
    top = frame[frame["score"] == frame.groupby("problem")["score"].transform("max")]
    return top.groupby("problem").agg(correct=("correct", "mean"), group_id=("group_id", "first"))


def report(table: pd.DataFrame, count: int, seed: int) -> dict[str, Any]:
    """Means of `best_of` with intervals by group, and the paired gains, as `gain_of_<way>_over_<rival>`."""
    names = [way for way in WAYS if way in table]
    clusters = Clusters.of(table.assign(point="all"), names)
    mean, draws = clusters.mean()[0], clusters.bootstrap(count, seed)[:, 0]
    places = {name: place for place, name in enumerate(names)}
    gains = {
        f"gain_of_{way}_over_{rival}": interval(
            mean[one] - mean[other], draws[:, one] - draws[:, other]
        ).named()
        for way, rival in GAINS
        if rival in places
        for one, other in [(places[way], places[rival])]
    }
    return {
        **{name: interval(mean[place], draws[:, place]).named() for name, place in places.items()},
        **gains,
    }


def report_by_size(answers: pd.DataFrame, count: int, seed: int) -> dict[str, Any]:
    """`report` of picking from 1, 2, 4, ... and all N `answers` (as in `best_of`), under `by_size`."""
    problems = answers["problem"].nunique()
    n = len(answers) // problems
    found = {str(size): report(best_of(size, answers), count, seed) for size in sizes(n)}
    return {"n": n, "questions": problems, "by_size": found}
