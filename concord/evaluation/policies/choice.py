"""Chooses the weights of one domain from measurements at a few points of the simplex.

Each measure (the mean of an objective, the KL) is smoothed over the weights by a quadratic response
(Scheffé, Journal of the Royal Statistical Society B 20, 1958). A choice may therefore be any point,
and is steadier than the maximum of noisy points.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from concord.evaluation.policies.protocol import lattice
from concord.stage import plugins
from concord.stage.errors import DataError

GIVEN = "given"
"""The rule that takes the given weights as head weights."""
GRID = {1: 1, 2: 100, 3: 40, 4: 20, 5: 12, 6: 8, 7: 6}
"""Number of objectives -> steps of the grid of weights that a rule searches; 4 for more."""
BOUND = re.compile(r"sft(?:\s*([+-])\s*(\d*\.?\d+))?")


def bound(value: float | str, sft: float) -> float:
    """The value of a lower bound: a number, or relative to the mean `sft` of the SFT model.

    Raises ValueError if it is neither.

    Examples:
        >>> bound("sft - 0.25", 1.0)
        0.75
    """
    if isinstance(value, int | float):
        return float(value)
    match = BOUND.fullmatch(value.strip())
    if match is None:
        raise ValueError(
            f"{value!r} is not a bound; give a number, or a difference to the SFT model such as "
            "`sft - 0.02`"
        )
    sign, distance = match.groups()
    return sft + (float(f"{sign}{distance}") if sign else 0.0)


@dataclass(frozen=True)
class Response:
    """y(w) = sum_i b_i w_i + sum_{i<j} b_ij w_i w_j, for several measures y.

    Without the products if there are fewer points than terms.
    """

    coefficients: np.ndarray
    """`(terms, measures)`"""
    r2: np.ndarray
    """`(measures,)`: the share of the variance between the points that the response explains; NaN
    if all points are equal."""

    @classmethod
    def fit(cls, weights: np.ndarray, values: np.ndarray) -> Response:
        """Least squares. Shapes: weights `(points, objectives)`, values `(points, measures)`."""
        terms = _terms(weights)
        if len(weights) < terms.shape[1]:
            terms = terms[:, : weights.shape[1]]
        coefficients = np.linalg.pinv(terms) @ values
        total = ((values - values.mean(axis=0)) ** 2).sum(axis=0)
        rest = ((values - terms @ coefficients) ** 2).sum(axis=0)
        r2 = 1 - np.divide(rest, total, out=np.full_like(total, np.nan), where=total > 1e-12)
        return cls(coefficients, r2)

    def at(self, weights: np.ndarray) -> np.ndarray:
        """The measures at `weights`: `(points, objectives)` -> `(points, measures)`."""
        return np.asarray(_terms(weights)[:, : len(self.coefficients)] @ self.coefficients)

    def expected(self, weights: np.ndarray) -> np.ndarray:
        """`at`, with the last measure, a KL, kept from falling below 0."""
        values = self.at(weights)
        values[:, -1] = np.maximum(values[:, -1], 0.0)
        return values


@dataclass(frozen=True)
class Wish:
    """What the owner asks of one domain."""

    rule: str
    """`given`, or a scalariser."""
    weights: np.ndarray
    """`(objectives,)`; the sum is 1."""
    at_least: np.ndarray
    """`(objectives,)`: lower bounds of the means; -inf for none."""
    sft: np.ndarray
    """`(objectives,)`: means of the SFT model, the thresholds of the rule `gate`."""
    max_kl: float
    """Largest KL in nats per answer; inf for no limit."""
    stay_near: float
    """What a rule that searches gives up per squared distance to `weights`."""


@dataclass(frozen=True)
class Measured:
    """Means on validation at the points of one domain."""

    domain: str
    names: list[str]
    """The objectives."""
    weights: np.ndarray
    """`(points, objectives)`"""
    means: np.ndarray
    """`(points, objectives + 1)`; the last column is the KL. NaN where nothing was measured."""
    draws: np.ndarray
    """`(resamples, points, objectives + 1)`: bootstrap means, with common resamples."""


def choose(measured: Measured, wish: Wish) -> dict[str, Any]:
    """The weights that fulfil the wish, what is expected there, and how sure the choice is.

    With the rule `given`: the given weights or, if these break a constraint, the nearest that keep
    all. With a scalariser: the maximum over the simplex of its value less `stay_near` times the
    squared distance to the given weights.

    Raises DataError if no weights keep all constraints.
    """
    grid = np.vstack([wish.weights, _grid(len(measured.names))])
    top = np.nanmax(measured.means[:, :-1], axis=0, initial=-np.inf)
    response = Response.fit(measured.weights, measured.means)
    index = _best(response.expected(grid), grid, wish, top)
    if index is None:
        raise DataError(_infeasible(measured, wish, response.expected(grid)))
    picks = [_pick(measured, wish, draw, grid) for draw in measured.draws]
    expected, steady = (
        response.expected(grid[[index]])[0],
        [pick for pick in picks if pick is not None],
    )
    spread = grid[steady].std(axis=0) if steady else np.full(len(measured.names), np.nan)
    named = {
        "weights": grid[index],
        "asked": wish.weights,
        "proxies": expected[:-1],
        "r2": response.r2[:-1],
        "spread": spread,
    }
    return {
        **{key: dict(zip(measured.names, row.tolist(), strict=True)) for key, row in named.items()},
        "kl": float(expected[-1]),
        "points": len(measured.weights),
    }


def _pick(measured: Measured, wish: Wish, means: np.ndarray, grid: np.ndarray) -> int | None:
    """The choice from one resample."""
    top = np.nanmax(means[:, :-1], axis=0, initial=-np.inf)
    return _best(Response.fit(measured.weights, means).expected(grid), grid, wish, top)


def _best(expected: np.ndarray, grid: np.ndarray, wish: Wish, top: np.ndarray) -> int | None:
    """Row of the grid to choose; None if every row breaks a constraint.

    Shapes: expected `(rows, objectives + 1)`, grid `(rows, objectives)`, top `(objectives,)`, the
    best measured mean of each objective.
    """
    broken = (expected[:, :-1] < wish.at_least - 1e-9) & np.isfinite(wish.at_least)
    kept = ~(broken.any(axis=1) | (expected[:, -1] > wish.max_kl + 1e-9))
    if not kept.any():
        return None
    distance = ((grid - wish.weights) ** 2).sum(axis=1)
    value = -distance
    if wish.rule != GIVEN:
        scores = _scores(expected[:, :-1], wish, top)
        if not np.isnan(scores).all():  # otherwise validation has nothing to compare points by
            value = scores - wish.stay_near * distance
    return int(np.nanargmax(np.where(kept, value, np.nan)))


def _scores(expected: np.ndarray, wish: Wish, top: np.ndarray) -> np.ndarray:
    """The rule's value of each row. Its ideal and threshold are in the units of the measure."""
    rule = plugins.function("concord.rewards.vector.scalarisers", wish.rule)
    known = {"ideal": top, "threshold": wish.sft}
    names = set(inspect.signature(rule).parameters) & set(known)
    return np.asarray(rule(expected, wish.weights, **{name: known[name] for name in names}))


def _infeasible(measured: Measured, wish: Wish, expected: np.ndarray) -> str:
    """Which constraints cannot be kept, and what is possible."""
    best = expected.max(axis=0)
    bounds = zip(measured.names, wish.at_least, best[:-1], strict=True)
    parts = [
        f"select.at_least.{name} is {limit:.3g}, the highest that any weights give {value:.3g}"
        for name, limit, value in bounds
        if np.isfinite(limit)
    ]
    if np.isfinite(wish.max_kl):
        parts.append(
            f"select.max_kl is {wish.max_kl:.3g}, the lowest that any weights give "
            f"{expected[:, -1].min():.3g}"
        )
    return (
        f"No weights of the domain {measured.domain} keep all constraints together: "
        f"{'; '.join(parts)}. Relax one of them."
    )


def _grid(count: int) -> np.ndarray:
    return lattice(count, GRID.get(count, 4))


def _terms(weights: np.ndarray) -> np.ndarray:
    """The weights and their pairwise products, `(points, terms)`."""
    pairs: Sequence[tuple[int, int]] = list(itertools.combinations(range(weights.shape[1]), 2))
    products = [weights[:, one] * weights[:, two] for one, two in pairs]
    return np.column_stack([weights, *products])


def full_vector(vectors: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """One vector over all domains: each domain's weights, divided by the number of domains."""
    return {name: weight / len(vectors) for vector in vectors for name, weight in vector.items()}
