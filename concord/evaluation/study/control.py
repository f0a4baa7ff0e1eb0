"""How far the weights of a study move each objective, beside the policies trained for each weight.

The range of an objective is its mean where its weight is largest less its mean where its weight is
smallest, both as the policy was trained. Policies that were trained for one objective alone show
how far it can be moved, so the steered policy's range is also given as a share of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats  # type: ignore[import-untyped]

from concord.evaluation.metrics import Clusters, interval
from concord.evaluation.study.curves import Curves, rows_at
from concord.evaluation.study.recipe import Cell, Variant


@dataclass(frozen=True)
class ObjectiveMeans:
    """Mean gold of a policy as it was trained, in one domain."""

    values: np.ndarray
    """`(seeds, cells, objectives)`."""
    draws: np.ndarray
    """`(draws, seeds, cells, objectives)`: resamples of the prompts."""

    @property
    def distinct(self) -> bool:
        """Whether the policy has a point of its own at every cell."""
        return bool(len(np.unique(self.values[0], axis=0)) == self.values.shape[1])


def objective_means(
    curves: Curves,
    variants: Sequence[Variant],
    answers: Mapping[tuple[str, int], pd.DataFrame],
    policy: str,
    domain: str,
) -> ObjectiveMeans:
    """The means of all objectives of `domain` at its cells. All policies share the resamples."""
    cells = [cell for cell in curves.cells if cell.domain == domain]
    columns = [f"gold.{name}" for name in cells[0].weights]

    def clusters(cell: Cell, seed: int) -> Clusters:
        rows = rows_at(answers, policy, cell, variants, seed)
        return Clusters.of(rows[rows["scale"] == 1], columns, across="scale")

    of = [[clusters(cell, seed) for cell in cells] for seed in curves.study.seeds]
    draws = [[c.bootstrap(curves.study.bootstrap, seed=0)[:, 0] for c in row] for row in of]
    return ObjectiveMeans(
        np.array([[c.mean()[0] for c in row] for row in of]),
        np.moveaxis(np.array(draws), 2, 0),
    )


def control(
    curves: Curves,
    variants: Sequence[Variant],
    answers: Mapping[tuple[str, int], pd.DataFrame],
    domain: str,
) -> dict[str, Any]:
    """Objective -> figures of the steered policy, and of every policy with a point at each cell.

    `kendall_tau` is that between the objective's weight and its mean, over cells; NaN at a single
    weight. `ranges` maps policies to `range` with its interval. `shares` maps every policy but the
    steered one to `share`, the steered policy's range divided by that policy's. A policy whose
    range may be 0, by its interval, has no share.
    """
    cells = [cell for cell in curves.cells if cell.domain == domain]
    means = {
        policy: objective_means(curves, variants, answers, policy, domain)
        for policy in curves.policies
    }
    steered = curves.study.steered
    of = {policy: one for policy, one in means.items() if one.distinct or policy == steered}
    figures = {}
    for column, name in enumerate(cells[0].weights):
        weights = np.array([cell.weights[name] for cell in cells])
        rows = means[steered].values[..., column]
        ranges = {policy: _range(one, column, weights) for policy, one in of.items()}
        totals = {policy: curves.over_seeds(draws) for policy, (_, draws) in ranges.items()}
        values = {policy: float(np.mean(of_seed)) for policy, (of_seed, _) in ranges.items()}
        spans = {policy: interval(values[policy], totals[policy]) for policy in ranges}
        figures[name] = {
            "kendall_tau": _kendall_tau(weights, rows),
            "ranges": {policy: span.named("range") for policy, span in spans.items()},
            "shares": {
                policy: interval(
                    values[steered] / values[policy], totals[steered] / totals[policy]
                ).named("share")
                for policy, span in spans.items()
                if policy != steered and span.low > 0
            },
        }
    return figures


def _kendall_tau(weights: np.ndarray, rows: np.ndarray) -> float:
    """The mean over seeds of that between `weights` `(cells,)` and the means `(seeds, cells)`."""
    if len(np.unique(weights)) == 1:
        return float("nan")
    return float(np.mean([stats.kendalltau(weights, row).statistic for row in rows]))


def _range(means: ObjectiveMeans, column: int, weights: np.ndarray) -> tuple[np.ndarray, ...]:
    """The range of an objective, `(seeds,)`, and its resamples, `(draws, seeds)`."""
    high, low = (weights == weights.max()), (weights == weights.min())
    value, draws = (
        array[..., high, column].mean(axis=-1) - array[..., low, column].mean(axis=-1)
        for array in (means.values, means.draws)
    )
    return value, draws
