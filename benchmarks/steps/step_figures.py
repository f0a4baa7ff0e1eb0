"""Metrics of step scores on labelled solutions: AUC, original against modified, and first errors.

A score is the probability that a step is correct. Rules locate the first error of an incorrect
solution: `lowest` takes the step with the lowest score, `drop` the step with the largest decrease
of the score, and `likeliest` the step t with the highest (1 - p_t) * p_1 * ... * p_(t-1), which is
the probability that t is wrong and all steps before it are correct. Position priors only use the
positions of first errors in other solutions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.steps.labelled_steps import copied, pairs
from concord.evaluation.metrics import (
    Interval,
    area_under_curve,
    interval,
    mean_interval,
    resamples,
)
from concord.evaluation.rewards.baselines import RESAMPLES, SEED
from concord.evaluation.rewards.step_quality import (
    CORRECT,
    clustered_area,
    first_error,
    largest_drop,
)

Scores = Sequence[np.ndarray]
"""One array (steps,) per solution."""
LEAST = 1e-6
"""Probabilities are clipped to this distance from 0 and 1."""


def likeliest(scores: np.ndarray) -> int:
    """Index of the step that is most likely the first error."""
    right = np.clip(np.asarray(scores, dtype=np.float64), LEAST, 1 - LEAST)
    before = np.concatenate([[0.0], np.cumsum(np.log(right))[:-1]])
    return int(np.argmax(before + np.log(1 - right)))


RULES: dict[str, Callable[[np.ndarray], int]] = {
    "likeliest": likeliest,
    "lowest": lambda scores: int(np.argmin(scores)),
    "drop": lambda scores: largest_drop(scores, 1.0),
}
"""Rules that locate the first error; the first one is used to compare scores."""


@dataclass(frozen=True)
class Prior:
    """Most common position of first errors, overall and by number of steps."""

    overall: int
    by_steps: dict[int, int]

    @classmethod
    def of(cls, table: pd.DataFrame) -> Prior:
        """From the incorrect solutions of a table; ties go to the earliest position."""
        wrong = table[table["wrong"]]
        positions = wrong["gold"].map(first_error)
        counts = wrong["steps"].map(len)
        return cls(
            _most_common(positions),
            {steps: _most_common(positions[counts == steps]) for steps in set(counts)},
        )

    def position(self, steps: int) -> int:
        """The most common position, or the last step of a shorter solution."""
        return min(self.overall, steps - 1)

    def position_given_steps(self, steps: int) -> int:
        """The most common position in solutions of this length; `position` if there were none."""
        return self.by_steps.get(steps, self.position(steps))


def _most_common(positions: pd.Series[int]) -> int:
    return Counter(sorted(positions.tolist())).most_common(1)[0][0]


def hits(table: pd.DataFrame, scores: Scores) -> dict[str, np.ndarray]:
    """Rule -> 1 or 0 per incorrect solution in order: whether it finds the first error."""
    scored = [
        (scores[row], first_error(table["gold"].iloc[row]))
        for row in np.flatnonzero(table["wrong"]).tolist()
    ]
    return {
        name: np.array([float(rule(score) == error) for score, error in scored])
        for name, rule in RULES.items()
    }


def prior_hits(
    table: pd.DataFrame, folds: Sequence[tuple[np.ndarray, np.ndarray]]
) -> dict[str, np.ndarray]:
    """As `hits`, for the two position priors. A fold is (training rows, test rows).

    NaN for the test rows of a fold without an incorrect training solution.
    """
    correct = np.full((2, len(table)), np.nan)
    true, steps = table["gold"].map(first_error).to_numpy(), table["steps"].map(len).to_numpy()
    for train, test in folds:
        if not table["wrong"].iloc[train].any():
            continue
        prior = Prior.of(table.iloc[train])
        for row in test:
            guesses = prior.position(steps[row]), prior.position_given_steps(steps[row])
            correct[:, row] = np.array(guesses) == true[row]
    wrong = table["wrong"].to_numpy()
    return {"prior": correct[0, wrong], "prior given steps": correct[1, wrong]}


def mean(table: pd.DataFrame, values: np.ndarray) -> Interval | None:
    """Mean over the incorrect solutions with an interval over groups; None without any."""
    if not len(values):
        return None
    return mean_interval(values, table.loc[table["wrong"], "group_id"].tolist(), RESAMPLES, SEED)


def pair_hits(numbers: np.ndarray, scores: Scores) -> np.ndarray:
    """1 if the worst step of the correct solution scores higher than that of the incorrect one.

    Ties count 1/2. `numbers` are pairs of row numbers (n, 2), correct first. Longer solutions have
    more chances of a bad step, so compare with a baseline on length.
    """
    margins = [scores[right].min() - scores[wrong].min() for right, wrong in numbers.tolist()]
    return np.asarray(np.heaviside(margins, 0.5))


def pair_share(table: pd.DataFrame, scores: Scores) -> Interval | None:
    """Mean of `pair_hits` with an interval over groups; None if no line has two solutions."""
    if not len(numbers := pairs(table)):
        return None
    groups = table["group_id"].iloc[numbers[:, 1]].tolist()
    return mean_interval(pair_hits(numbers, scores), groups, RESAMPLES, SEED)


def area(table: pd.DataFrame, scores: Scores, chosen: Scores | None = None) -> Interval | None:
    """AUC of correct against wrong steps, pooled over incorrect solutions; interval over groups.

    `chosen`, bool (steps,) per solution, restricts the steps. None if there are no correct or no
    wrong steps.
    """
    indices, right, owner = _judged(table, chosen)
    if not right.any() or right.all():
        return None
    return clustered_area(np.concatenate(scores)[indices], right, owner, RESAMPLES, SEED)


def area_gain(
    table: pd.DataFrame, one: Scores, other: Scores, chosen: Scores | None = None
) -> Interval | None:
    """`area` of one list of scores minus that of the other, on the same resamples."""
    indices, right, owner = _judged(table, chosen)
    if not right.any() or right.all():
        return None
    sides = [np.concatenate(scores)[indices] for scores in (one, other)]

    def gain(rows: np.ndarray) -> float:
        first, second = (area_under_curve(scores[rows], right[rows]) for scores in sides)
        return first - second

    drawn = resamples(int(owner.max()) + 1, RESAMPLES, SEED).astype(int)
    everyone = np.arange(len(owner))
    return interval(
        gain(everyone), np.array([gain(np.repeat(everyone, times[owner])) for times in drawn])
    )


def _judged(
    table: pd.DataFrame, chosen: Scores | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The labelled (and chosen) steps of incorrect solutions.

    Returns their indices among all steps, whether each is correct, and its group's number.
    """
    gold, counts = np.concatenate(table["gold"].tolist()), table["gold"].map(len).to_numpy()
    known = np.isfinite(gold) & np.repeat(table["wrong"].to_numpy(), counts)
    indices = np.flatnonzero(known if chosen is None else known & np.concatenate(chosen))
    return (
        indices,
        gold[indices] >= CORRECT,
        pd.factorize(np.repeat(table["group_id"].to_numpy(), counts)[indices])[0],
    )


def rewritten(table: pd.DataFrame) -> list[np.ndarray]:
    """Marks the steps of modified solutions (`pairs`) that are not in the original: bool (steps,).

    The author of the error wrote all of these, correct or not, so style separates them less. Other
    solutions have no marks.
    """
    marks = [np.zeros(len(steps), dtype=bool) for steps in table["steps"]]
    for right, wrong in pairs(table):
        marks[wrong] = ~copied(table["steps"].iloc[wrong], table["steps"].iloc[right])
    return marks
