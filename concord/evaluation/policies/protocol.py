"""Operating points: the weights at which every policy is evaluated, on the same prompts.

An operating point maps the objectives of one domain to weights. Every policy is evaluated at
`equal` and at `default`. A steerable policy is also swept: the weight of each objective goes from 0
to 1, and the other objectives of its domain share the rest equally. Points are identified by name,
and identical weight vectors are sampled once.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from concord.objectives import Objective, domain_weights

if TYPE_CHECKING:
    import pandas as pd

EQUAL, DEFAULT = "equal", "default"
STANDARDS = {"sandbox": "gold", "likelihood": "pair accuracy", "judged": "the judge"}
"""Protocol -> what judges the policies, in words."""
CONTROL = "control"
"""The key of reports/front.json that is not a domain."""


@dataclass(frozen=True)
class Point:
    """One weight vector within one domain."""

    name: str
    domain: str
    weights: dict[str, float]
    """objective -> weight; the sum is 1"""


class Sampler(Protocol):
    """A policy that answers at the weights of a point."""

    def sample(self, messages: Sequence[Any], weights: Mapping[str, float]) -> list[str]:
        """One response per prompt."""

    def answers(
        self, messages: Sequence[Any], weights: Mapping[str, float], scale: float = 1.0
    ) -> Any:
        """The same responses as `texts`, with `kl` to the reference in nats, `lengths` in tokens,
        and `reference_logprobs`, `(responses,)` each. `scale` scales the difference from the
        reference.
        """

    def likelihood(
        self,
        messages: Sequence[Any],
        responses: Sequence[str],
        points: Sequence[Mapping[str, float]],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Log-probabilities of given answers and KL to the reference, (points, n) each, and lengths
        in tokens, (n,).
        """


class Judged(NamedTuple):
    """The result of a protocol."""

    samples: pd.DataFrame
    """All prompts and answers, saved next to the report."""
    held_out: pd.DataFrame
    """Units for the reported results."""
    validation: pd.DataFrame
    """Units for choosing weights."""
    extra: dict[str, Any]
    """Entries of the report that are specific to this protocol."""
    scaled: pd.DataFrame | None = None
    """Held-out units between SFT and the policy, with the column `scale`."""


def by_domain(objectives: Mapping[str, str]) -> dict[str, list[str]]:
    """Domain -> its objectives, from objective -> domain.

    Examples:
        >>> by_domain({"helpful": "values", "honest": "values"})
        {'values': ['helpful', 'honest']}
    """
    domains: dict[str, list[str]] = {}
    for name, domain in objectives.items():
        domains.setdefault(domain, []).append(name)
    return domains


def evaluated_objectives(
    objectives: Mapping[str, Objective],
    heads: Sequence[str] | None,
    domains: Collection[str] | None = None,
) -> dict[str, list[str]]:
    """Domain -> its objectives in the reward vector.

    Only objectives with one of the `heads` count, and only those of the `domains`; None stands for
    all.
    """
    selected = {
        name: objective.domain
        for name, objective in objectives.items()
        if objective.in_vector
        and (heads is None or name in heads)
        and (domains is None or objective.domain in domains)
    }
    return by_domain(selected)


def focused_weights(names: Sequence[str], objective: str, weight: float) -> dict[str, float]:
    """Gives `weight` to `objective`; the other `names` share the rest equally.

    Examples:
        >>> focused_weights(["helpful", "honest", "harmless"], "honest", 0.5)
        {'helpful': 0.25, 'honest': 0.5, 'harmless': 0.25}
    """
    rest = (1.0 - weight) / (len(names) - 1) if len(names) > 1 else 0.0
    return {name: weight if name == objective else rest for name in names}


def same(first: Mapping[str, float], second: Mapping[str, float]) -> bool:
    """Whether two weight vectors are equal, in any order."""
    return first.keys() == second.keys() and all(
        abs(first[name] - second[name]) < 1e-9 for name in first
    )


def find(points: Iterable[Point], domain: str, weights: Mapping[str, float]) -> Point | None:
    """The point of `domain` with these weights, or None."""
    return next(
        (point for point in points if point.domain == domain and same(point.weights, weights)), None
    )


def sweep_weights(count: int) -> list[float]:
    """`count` evenly spaced weights from 0 to 1.

    Examples:
        >>> sweep_weights(3)
        [0.0, 0.5, 1.0]
    """
    return [float(weight) for weight in np.linspace(0.0, 1.0, count)]


def operating_points(
    domain: str, names: Sequence[str], default: Mapping[str, float], sweep: int
) -> list[Point]:
    """All points of a domain without duplicates: equal, default, then the sweep (none if `sweep` is
    0).
    """
    equal = {name: 1.0 / len(names) for name in names}
    candidates = [Point(EQUAL, domain, equal), Point(DEFAULT, domain, dict(default))]
    if len(names) > 1:
        for objective in names:
            for weight in sweep_weights(sweep):
                vector = focused_weights(names, objective, weight)
                candidates.append(Point(f"{objective}={weight:.3f}", domain, vector))
    points: list[Point] = []
    for point in candidates:
        if find(points, domain, point.weights) is None:
            points.append(point)
    return points


def lattice(count: int, steps: int) -> np.ndarray:
    """All weight vectors of `count` objectives whose weights are multiples of 1 / `steps`.

    `(points, count)`, in descending order; each row sums to 1.

    Examples:
        >>> lattice(2, 2).tolist()
        [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    rows = itertools.product(range(steps, -1, -1), repeat=count - 1)
    heads = np.array([row for row in rows if sum(row) <= steps], dtype=float).reshape(-1, count - 1)
    return np.column_stack([heads, steps - heads.sum(axis=1)]) / steps


DESIGN_STEPS = {1: 1, 2: 4, 3: 3}
"""Number of objectives -> steps of the lattice on which choices are measured; 2 for more."""


def design_points(names: Mapping[str, Sequence[str]], points: Sequence[Point]) -> list[Point]:
    """The points at which the stage `select` learns how the objectives respond to the weights.

    Per domain `equal` and `default` from `points`, and a lattice over the simplex: five weights for
    two objectives, ten for three.
    """
    design = []
    for domain, members in names.items():
        chosen = [p for p in points if p.domain == domain and p.name in (EQUAL, DEFAULT)]
        for row in lattice(len(members), DESIGN_STEPS.get(len(members), 2)).tolist():
            vector = dict(zip(members, row, strict=True))
            if find(chosen, domain, vector) is None:
                chosen.append(Point(",".join(f"{value:.2f}" for value in row), domain, vector))
        design += chosen
    return design


def all_points(
    names: Mapping[str, Sequence[str]],
    objectives: Mapping[str, Objective],
    weights: Mapping[str, float],
    sweep: int,
    steerable: bool,
) -> list[Point]:
    """The operating points of all domains.

    A policy that is not steerable has only `equal`, because weights do not affect it.

    Args:
        names: domain -> its evaluated objectives.
        objectives: all objectives.
        weights: `evaluate.weights`, the weights of `default`.
        sweep: number of weights per objective in the sweep.
        steerable: whether the policy has heads.
    """
    points = []
    for domain, members in names.items():
        default = domain_weights(
            {name: weights.get(name, 0.0) for name in members},
            {name: objectives[name] for name in members},
            domain,
            "evaluate.weights",
        )
        points += operating_points(domain, members, default, sweep)
    return points if steerable else [point for point in points if point.name == EQUAL]
