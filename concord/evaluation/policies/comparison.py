"""Comparison of all policies in one domain: hypervolumes, differences to the reference, control.

All policies answered the same prompts and share the resamples of the prompts, so each difference
has a paired interval. A steerable policy is compared at one point, like every other policy. Its
whole sweep is reported separately, as `steerable`: many points against one would be unfair.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from concord.evaluation.metrics import Clusters, interval
from concord.evaluation.policies import front
from concord.evaluation.policies.protocol import (
    DEFAULT,
    EQUAL,
    Point,
    find,
    focused_weights,
    sweep_weights,
)
from concord.evaluation.policies.summary import points_of
from concord.stage.errors import DataError

SANDBOX_KIND = "borderline"
"""Questions that only look hazardous, where refusals cost most."""


@dataclass(frozen=True)
class Bootstrap:
    """Number of resamples per interval, and their seed."""

    count: int
    seed: int


class Comparison:
    """Means of every policy at every point in one domain, with paired resamples."""

    def __init__(
        self, units: Mapping[str, pd.DataFrame], names: Sequence[str], bootstrap: Bootstrap
    ) -> None:
        self.names = list(names)
        self.points = {policy: points_of(frame) for policy, frame in units.items()}
        keyed = [frame.assign(key=policy + "/" + frame["point"]) for policy, frame in units.items()]
        table = pd.concat(keyed, ignore_index=True)
        clusters = Clusters.of(
            table, [*(f"gold.{name}" for name in names), "kl", "length"], across="key"
        )
        self.rows = {key: row for row, key in enumerate(clusters.keys)}
        self.means = clusters.mean()  # (keys, objectives + 2)
        self.draws = clusters.bootstrap(
            bootstrap.count, bootstrap.seed
        )  # (count, keys, objectives + 2)

    def row(self, policy: str, point: str) -> int:
        """Row of a policy's point. A point with the weights or the answers of `equal` uses the row
        of `equal`.
        """
        return self.rows.get(f"{policy}/{point}", self.rows[f"{policy}/{EQUAL}"])

    def steerable(self, policy: str) -> bool:
        """Whether the policy was swept."""
        return len(self.points[policy]) > 2

    def hypervolume(self, policy: str, reference: Sequence[float]) -> dict[str, Any]:
        """Hypervolume at equal weights, at the default weights, and volume all points if there are
        more.
        """
        width = len(self.names)

        def volume(rows: list[int]) -> dict[str, Any]:
            figure = front.hypervolume_interval(
                self.means[rows, :width], self.draws[:, rows, :width], reference
            )
            return {**figure.named(), "points": len(rows)}

        entry = {
            **volume([self.row(policy, EQUAL)]),
            "default": volume([self.row(policy, DEFAULT)]),
        }
        if self.steerable(policy):
            entry["steerable"] = volume(
                [self.row(policy, point.name) for point in self.points[policy]]
            )
        return entry

    def differences(self, policy: str, reference: str) -> dict[str, dict[str, float]]:
        """Per objective: mean of `policy` minus mean of `reference`, both at equal weights, with a
        paired interval.
        """
        one, two = self.row(policy, EQUAL), self.row(reference, EQUAL)
        return {
            name: interval(
                self.means[one, column] - self.means[two, column],
                self.draws[:, one, column] - self.draws[:, two, column],
            ).named()
            for column, name in enumerate(self.names)
        }

    def control(self, policy: str, count: int) -> dict[str, Any]:
        """Per objective: how it follows its weight over `count` values; empty if never swept."""
        if not self.steerable(policy):
            return {}
        figures = {}
        headed = self._steered_objectives(policy)
        for name in (name for name in self.names if name in headed):
            column = self.names.index(name)
            rows = [self.row(policy, point.name) for point in self.swept(policy, name, count)]
            figures[name] = front.control(
                sweep_weights(count), self.means[rows, column], self.draws[:, rows, column]
            )
        return figures

    def swept(self, policy: str, objective: str, count: int) -> list[Point]:
        """Points with the weight of `objective` from 0 to 1; DataError if one is missing."""
        points = self.points[policy]
        vectors = [
            focused_weights(self._steered_objectives(policy), objective, weight)
            for weight in sweep_weights(count)
        ]
        matches = [find(points, points[0].domain, vector) for vector in vectors]
        missing = [vector for vector, point in zip(vectors, matches, strict=True) if point is None]
        if missing:
            raise DataError(
                f"The samples of {policy} have no answers at the weights {missing[0]}. "
                f"Rerun the stage evaluate@{policy}."
            )
        return [point for point in matches if point is not None]

    def _steered_objectives(self, policy: str) -> list[str]:
        """Objectives of the domain that have a head in this policy, judged or not."""
        return list(self.points[policy][0].weights)

    def table(self, policy: str) -> list[dict[str, Any]]:
        """Points of a policy: means, intervals, KL, length, and whether it is non-dominated."""
        rows = [self.row(policy, point.name) for point in self.points[policy]]
        width = len(self.names)
        best = front.non_dominated(self.means[rows, :width])
        return [
            {
                "policy": policy,
                "point": point.name,
                "weights": point.weights,
                "objectives": {
                    name: interval(self.means[row, column], self.draws[:, row, column]).named()
                    for column, name in enumerate(self.names)
                },
                "kl": self.means[row, width],
                "length": self.means[row, width + 1],
                "non_dominated": bool(best[index]),
            }
            for index, (point, row) in enumerate(zip(self.points[policy], rows, strict=True))
        ]


def borderline(
    units: pd.DataFrame, names: Sequence[str], weights: int, bootstrap: Bootstrap
) -> dict[str, Any] | None:
    """Means on borderline questions by the weight of `harmless`; None without such questions."""
    if not {"helpful", "harmless"} <= set(names) or "kind" not in units.columns:
        return None
    frame = units[units["kind"] == SANDBOX_KIND]
    if frame.empty:
        return None
    comparison = Comparison({"policy": frame}, names, bootstrap)
    if not comparison.steerable("policy"):
        return None
    rows = [
        comparison.row("policy", point.name)
        for point in comparison.swept("policy", "harmless", weights)
    ]
    curves = {}
    for name in ("helpful", "harmless"):
        column = names.index(name)
        curves[name] = [
            interval(comparison.means[row, column], comparison.draws[:, row, column]).named()
            for row in rows
        ]
    return {
        "weights": sweep_weights(weights),
        **curves,
        "prompts": int(np.unique(frame["prompt_id"]).size),
    }
