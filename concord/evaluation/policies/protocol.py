"""Operating points: the weights at which every policy is evaluated, on the same prompts.

An operating point maps the objectives of one domain to weights. Every policy is evaluated at
`equal` and at `default`. A steerable policy is also swept: the weight of each objective goes from 0
to 1, and the other objectives of its domain share the rest equally. Points are identified by name,
and identical weight vectors are sampled once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

EQUAL, DEFAULT = "equal", "default"


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

    def log_ratio(
        self, messages: Sequence[Any], responses: Sequence[str], weights: Mapping[str, float]
    ) -> np.ndarray:
        """log pi(response) - log reference(response) in nats, (n,)."""

    def lengths(self, responses: Sequence[str]) -> list[float]:
        """Number of tokens of each response."""

    def likelihood(
        self,
        messages: Sequence[Any],
        responses: Sequence[str],
        points: Sequence[Mapping[str, float]],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Log-probabilities of given answers and KL to the reference, (points, n) each, and lengths
        in tokens, (n,).
        """


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
