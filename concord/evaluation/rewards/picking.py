"""Picking one of N answers to a checkable problem: by score, by majority vote, or by weighted vote.

A response without a final answer gets no vote and ranks last; ties are split evenly. All ways see
the same N answers, so they use the same number of tokens. Answers are rows of a table with the
columns problem, group_id, final (`concord.evaluation.rewards.votes`) and correct.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from concord.evaluation.metrics import Clusters, interval

WAYS = {
    "random": "random",
    "majority": "majority vote",
    "scorer": "highest score",
    "weighted_vote": "weighted vote",
    "outcome": "outcome model",
    "oracle": "oracle",
}
"""Way of picking -> its label in charts and tables.

- random: the mean over all answers
- majority: the most common final answer
- scorer: the highest score
- weighted_vote: the final answer with the largest sum of scores (Li et al., arXiv 2206.02336)
- outcome: the highest score of an outcome model, if there is one
- oracle: a right answer, if there is one
"""
GAINS = {
    ("scorer", "majority"): "score over majority",
    ("weighted_vote", "majority"): "weighted vote over majority",
    ("scorer", "outcome"): "score over outcome model",
}
"""Reported paired differences, first minus second -> their labels."""


def sizes(most: int) -> list[int]:
    """Numbers of answers to pick from: 1, 2, 4, ... and `most`.

    Examples:
        >>> sizes(5)
        [1, 2, 4, 5]
    """
    return sorted({2**power for power in range(most.bit_length()) if 2**power < most} | {most})


def best_of(size: int, answers: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of picking one of `size` answers: one row per problem, one column per way,
    `group_id`.

    `answers` has N rows per problem, with the additional columns `score` (at least 0, weighs the
    votes) and `outcome` if there is an outcome model. The `size` answers are a window that starts
    at each of the N answers in turn; the result is the mean over the windows.
    """
    position = answers.groupby("problem").cumcount().to_numpy()
    most = int(position.max()) + 1
    windows = [(position - start) % most < size for start in range(most if size < most else 1)]
    accuracies = pd.concat([_pick_from_all(answers[window]) for window in windows])
    return accuracies.groupby(level=0).agg(
        dict.fromkeys(accuracies.columns, "mean") | {"group_id": "first"}
    )


def _pick_from_all(answers: pd.DataFrame) -> pd.DataFrame:
    """Picks from all answers of each problem."""
    scores = {
        "random": np.zeros(len(answers)),
        "majority": tally(answers, np.ones(len(answers))),
        "scorer": unread_last(answers, answers["score"].to_numpy()),
        "weighted_vote": tally(answers, answers["score"].to_numpy()),
        "oracle": answers["correct"].to_numpy(),
    }
    if "outcome" in answers:
        scores["outcome"] = unread_last(answers, answers["outcome"].to_numpy())
    tables = {way: picks(answers, values) for way, values in scores.items()}
    return tables["random"][["group_id"]].assign(
        **{way: table["correct"] for way, table in tables.items()}
    )


def tally(answers: pd.DataFrame, weights: np.ndarray) -> np.ndarray:
    """Total weight of the answers with the same problem and final answer, (answers,); 0 without a
    final answer.
    """
    sums = answers.assign(weight=weights).groupby(["problem", "final"])["weight"].transform("sum")
    return sums.fillna(0.0).to_numpy(dtype=float)


def unread_last(answers: pd.DataFrame, scores: np.ndarray) -> np.ndarray:
    """The scores, (answers,), with -inf for responses without a final answer."""
    return np.where(answers["final"].isna(), -np.inf, scores)


def picks(answers: pd.DataFrame, scores: np.ndarray) -> pd.DataFrame:
    """Per problem: `correct` of the highest-scored answer (mean over ties), and `group_id`."""
    frame = answers.assign(score=scores)
    top = frame[frame["score"] == frame.groupby("problem")["score"].transform("max")]
    return top.groupby("problem").agg(correct=("correct", "mean"), group_id=("group_id", "first"))


def report(table: pd.DataFrame, count: int, seed: int) -> dict[str, Any]:
    """Means of `best_of` with intervals by group; paired gains as `gain_of_<way>_over_<rival>`."""
    names = [way for way in WAYS if way in table]
    clusters = Clusters.of(table.assign(point="all"), names)
    mean, draws = clusters.mean()[0], clusters.bootstrap(count, seed)[:, 0]
    columns = {name: column for column, name in enumerate(names)}
    figures = {
        name: interval(mean[column], draws[:, column]).named() for name, column in columns.items()
    }
    for way, rival in GAINS:
        if rival in columns:
            one, other = columns[way], columns[rival]
            gain = interval(mean[one] - mean[other], draws[:, one] - draws[:, other])
            figures[f"gain_of_{way}_over_{rival}"] = gain.named()
    return figures


def report_by_size(answers: pd.DataFrame, count: int, seed: int) -> dict[str, Any]:
    """`report` for 1, 2, 4, ... and all N of the `answers` (see `best_of`), under `by_size`."""
    problems = answers["problem"].nunique()
    n = len(answers) // problems
    reports = {str(size): report(best_of(size, answers), count, seed) for size in sizes(n)}
    return {"n": n, "questions": problems, "by_size": reports}
