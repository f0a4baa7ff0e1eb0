"""Scores of steps measured on labelled solutions: by area, against the original solution, and by the first error.

A score is the probability that a step is right. The first error of a solution that has one is looked for by rules:
`lowest` takes the step with the lowest score, `drop` the one before which the score falls most, and `likeliest` the
step t with the highest (1 - p_t) * p_1 * ... * p_(t-1), the probability that t is wrong and all before it are right.
Position priors read nothing but where first errors of other solutions are.
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
"""Of each solution, (steps,)."""
LEAST = 1e-6
"""Probabilities are kept this far from 0 and 1."""


def likeliest(scores: np.ndarray) -> int:
    """Index of the step that is most probably the first wrong one."""
    right = np.clip(np.asarray(scores, dtype=np.float64), LEAST, 1 - LEAST)
    before = np.concatenate([[0.0], np.cumsum(np.log(right))[:-1]])
    return int(np.argmax(before + np.log(1 - right)))


RULES: dict[str, Callable[[np.ndarray], int]] = {
    "likeliest": likeliest,
    "lowest": lambda scores: int(np.argmin(scores)),
    "drop": lambda scores: largest_drop(scores, 1.0),
}
"""Ways to the first error; the first is the one by which scores are compared."""


@dataclass(frozen=True)
class Prior:
    """Where first errors are, from solutions with one: the commonest place, over all and for each number of steps."""

    overall: int
    by_steps: dict[int, int]

    @classmethod
    def of(cls, table: pd.DataFrame) -> Prior:
        """From the wrong solutions of a table; of places that are as common the first is taken."""
        wrong = table[table["wrong"]]
        places = wrong["gold"].map(first_error)
        counts = wrong["steps"].map(len)
        return cls(
            _commonest(places),
            {steps: _commonest(places[counts == steps]) for steps in set(counts)},
        )

    def place(self, steps: int) -> int:
        """The commonest place, or the last step of a solution that ends before it."""
        return min(self.overall, steps - 1)

    def place_given_steps(self, steps: int) -> int:
        """The commonest place in solutions of as many steps; `place` where there were none."""
        return self.by_steps.get(steps, self.place(steps))


def _commonest(places: pd.Series[int]) -> int:
    return Counter(sorted(places.tolist())).most_common(1)[0][0]


def hits(table: pd.DataFrame, scores: Scores) -> dict[str, np.ndarray]:
    """By rule, of the wrong solutions in their order: 1 where it finds the first error, else 0."""
    own = [
        (scores[row], first_error(table["gold"].iloc[row]))
        for row in np.flatnonzero(table["wrong"]).tolist()
    ]
    return {
        name: np.array([float(rule(score) == place) for score, place in own])
        for name, rule in RULES.items()
    }


def prior_hits(
    table: pd.DataFrame, folds: Sequence[tuple[np.ndarray, np.ndarray]]
) -> dict[str, np.ndarray]:
    """As `hits`, by position priors: each fold (rows to learn from, rows to measure on) by the prior of its own; NaN
    where there is nothing to learn from."""
    found = np.full((2, len(table)), np.nan)
    true, steps = table["gold"].map(first_error).to_numpy(), table["steps"].map(len).to_numpy()
    for train, test in folds:
        if not table["wrong"].iloc[train].any():
            continue
        prior = Prior.of(table.iloc[train])
        for row in test:
            guesses = prior.place(steps[row]), prior.place_given_steps(steps[row])
            found[:, row] = np.array(guesses) == true[row]
    wrong = table["wrong"].to_numpy()
    return {"prior": found[0, wrong], "prior given steps": found[1, wrong]}


def mean(table: pd.DataFrame, values: np.ndarray) -> Interval | None:
    """Mean over the wrong solutions, in their order, with an interval by group; None where there is none."""
    if not len(values):
        return None
    return mean_interval(values, table.loc[table["wrong"], "group_id"].tolist(), RESAMPLES, SEED)


def pair_hits(found: np.ndarray, scores: Scores) -> np.ndarray:
    """Of pairs of rows (n, 2), right and wrong: 1 where the worst step of the right one scores higher, ties one half.

    The longer of two solutions has more chances of a bad step: see what length alone gives.
    """
    margins = [scores[right].min() - scores[wrong].min() for right, wrong in found.tolist()]
    return np.asarray(np.heaviside(margins, 0.5))


def pair_share(table: pd.DataFrame, scores: Scores) -> Interval | None:
    """Mean of `pair_hits` with an interval by group; None where no line holds two solutions."""
    if not len(found := pairs(table)):
        return None
    groups = table["group_id"].iloc[found[:, 1]].tolist()
    return mean_interval(pair_hits(found, scores), groups, RESAMPLES, SEED)


def area(table: pd.DataFrame, scores: Scores, chosen: Scores | None = None) -> Interval | None:
    """AUC of right over wrong steps of the wrong solutions, all together, with an interval by group.

    `chosen` (bool (steps,) of each solution) leaves the others out. None where right or wrong steps lack.
    """
    places, right, owner = _judged(table, chosen)
    if not right.any() or right.all():
        return None
    return clustered_area(np.concatenate(scores)[places], right, owner, RESAMPLES, SEED)


def area_gain(
    table: pd.DataFrame, one: Scores, other: Scores, chosen: Scores | None = None
) -> Interval | None:
    """`area` by one list of scores less that by the other, both of the same resamples."""
    places, right, owner = _judged(table, chosen)
    if not right.any() or right.all():
        return None
    sides = [np.concatenate(scores)[places] for scores in (one, other)]

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
    """The labelled (and chosen) steps of wrong solutions: their places among all steps, whether each is right, and the
    number of its group."""
    gold, counts = np.concatenate(table["gold"].tolist()), table["gold"].map(len).to_numpy()
    known = np.isfinite(gold) & np.repeat(table["wrong"].to_numpy(), counts)
    places = np.flatnonzero(known if chosen is None else known & np.concatenate(chosen))
    return (
        places,
        gold[places] >= CORRECT,
        pd.factorize(np.repeat(table["group_id"].to_numpy(), counts)[places])[0],
    )


def rewritten(table: pd.DataFrame) -> list[np.ndarray]:
    """bool (steps,) of each solution: of the wrong ones of `pairs` the steps that the original does not hold.

    Who put the error in wrote these, right or wrong, so that the style tells them less apart; of other solutions none.
    """
    marks = [np.zeros(len(steps), dtype=bool) for steps in table["steps"]]
    for right, wrong in pairs(table):
        marks[wrong] = ~copied(table["steps"].iloc[wrong], table["steps"].iloc[right])
    return marks
