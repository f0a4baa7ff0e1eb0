"""The locked protocol: at which weights a policy is evaluated, and on which prompts, the same for every policy.

An operating point is a mapping of objective -> weight within one domain. Every policy is evaluated at `equal` and at
`default`; a policy that can be steered also at a sweep, in which each objective's own weight runs from 0 to 1 while the
rest of its domain share what is left. Points are bound by name, and identical vectors are sampled once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

EQUAL, DEFAULT = "equal", "default"


@dataclass(frozen=True)
class Point:
    """One vector of weights within one domain."""

    name: str
    domain: str
    weights: dict[str, float]
    """objective -> weight, sum 1"""


class Sampler(Protocol):
    """A policy that answers at a point's weights."""

    def sample(self, messages: Sequence[Any], weights: Mapping[str, float]) -> list[str]:
        """One response per prompt."""

    def log_ratio(
        self, messages: Sequence[Any], responses: Sequence[str], weights: Mapping[str, float]
    ) -> np.ndarray:
        """log pi(response) - log reference(response), (n,)."""

    def lengths(self, responses: Sequence[str]) -> list[float]:
        """Tokens of each response."""

    def likelihood(
        self,
        messages: Sequence[Any],
        responses: Sequence[str],
        points: Sequence[Mapping[str, float]],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Log-probability of given answers and KL to the reference, (points, n) each; length in tokens, (n,)."""


def by_domain(objectives: Mapping[str, str]) -> dict[str, list[str]]:
    """Domain -> its objectives, from objective -> domain."""
    domains: dict[str, list[str]] = {}
    for name, domain in objectives.items():
        domains.setdefault(domain, []).append(name)
    return domains


def own_weight(names: Sequence[str], objective: str, weight: float) -> dict[str, float]:
    """`objective` gets `weight`, the others of `names` share the rest equally."""
    rest = (1.0 - weight) / (len(names) - 1) if len(names) > 1 else 0.0
    return {name: weight if name == objective else rest for name in names}


def same(first: Mapping[str, float], second: Mapping[str, float]) -> bool:
    """Whether two vectors agree, whatever their order."""
    return first.keys() == second.keys() and all(
        abs(first[name] - second[name]) < 1e-9 for name in first
    )


def find(points: Iterable[Point], domain: str, weights: Mapping[str, float]) -> Point | None:
    """The point of `domain` that has these weights."""
    return next(
        (point for point in points if point.domain == domain and same(point.weights, weights)), None
    )


def sweep_weights(count: int) -> list[float]:
    """`count` values from 0 to 1."""
    return [float(weight) for weight in np.linspace(0.0, 1.0, count)]


def operating_points(
    domain: str, names: Sequence[str], default: Mapping[str, float], sweep: int
) -> list[Point]:
    """All points of a domain without repeats: equal first, then default, then the sweep (0: none)."""
    equal = {name: 1.0 / len(names) for name in names}
    candidates = [Point(EQUAL, domain, equal), Point(DEFAULT, domain, dict(default))]
    if len(names) > 1:
        for objective in names:
            for weight in sweep_weights(sweep):
                vector = own_weight(names, objective, weight)
                candidates.append(Point(f"{objective}={weight:.3f}", domain, vector))
    points: list[Point] = []
    for point in candidates:
        if find(points, domain, point.weights) is None:
            points.append(point)
    return points
