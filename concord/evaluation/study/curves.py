"""Utility against KL of every policy of a study, with resamples over seeds and prompts.

A policy is measured at several scales between the SFT model and what was trained. Its utility at
another KL is interpolated linearly between these points; SFT itself is the point at KL 0. Nothing
is extrapolated beyond what was trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from concord.evaluation.metrics import Clusters, resamples
from concord.evaluation.study.recipe import REFERENCE, Cell, StudyParams, Variant


@dataclass(frozen=True)
class Curve:
    """Utility against KL of one policy at one cell. The first point is the SFT model."""

    kl: np.ndarray
    """`(seeds, points)` in nats per answer, ascending."""
    utility: np.ndarray
    """`(seeds, points)`: sum_i w_i gold_i."""
    kl_draws: np.ndarray
    """`(draws, seeds, points)`: resamples of the prompts."""
    utility_draws: np.ndarray
    """`(draws, seeds, points)`: the same resamples."""

    def at(self, target: np.ndarray) -> np.ndarray:
        """Utility `(seeds,)` at the KL `target` `(seeds,)`; NaN beyond the last point."""
        return interpolate(self.kl, self.utility, target)

    def draws_at(self, target: np.ndarray) -> np.ndarray:
        """Utility `(draws, seeds)` at the KL `target` `(draws, seeds)`."""
        return interpolate(self.kl_draws, self.utility_draws, target)


def interpolate(kl: np.ndarray, utility: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Linear interpolation along the last axis; NaN where `target` is beyond the last point.

    Args:
        kl: `(..., points)`. A value below its predecessor counts as equal to it.
        utility: `(..., points)`.
        target: `(...)`.

    Examples:
        >>> interpolate(np.array([0.0, 2.0]), np.array([0.5, 0.7]), np.array(1.0)).item()
        0.6
    """
    kl = np.maximum.accumulate(kl, axis=-1)
    right = np.clip((kl < target[..., None]).sum(axis=-1), 1, kl.shape[-1] - 1)
    x0, x1, y0, y1 = (
        np.take_along_axis(values, index[..., None], axis=-1)[..., 0]
        for values in (kl, utility)
        for index in (right - 1, right)
    )
    share = np.divide(target - x0, x1 - x0, out=np.zeros_like(x0), where=x1 > x0)
    result: np.ndarray = np.where(target > kl[..., -1] + 1e-12, np.nan, y0 + share * (y1 - y0))
    return result


def curve_of(
    tables: Sequence[pd.DataFrame], reference: pd.DataFrame, cell: Cell, count: int, seed: int
) -> Curve:
    """The curve of a policy at a cell.

    Args:
        tables: the answers of each seed's training to the prompts of the cell, at every scale.
        reference: the answers of the SFT model to the same prompts.
        cell: the weights of the utility.
        count: resamples of the prompts. All curves of a domain share them.
        seed: draws the resamples.
    """
    of_seed = [_means(table, reference, cell, count, seed) for table in tables]
    means, draws = zip(*of_seed, strict=True)
    mean, draw = np.stack(means), np.stack(draws, axis=1)
    return Curve(mean[..., 1], mean[..., 0], draw[..., 1], draw[..., 0])


def _means(
    table: pd.DataFrame, reference: pd.DataFrame, cell: Cell, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Means `(points, 2)` of utility and KL by ascending scale, and resamples."""
    frame = pd.concat([reference.assign(scale=0.0, kl=0.0), table]).sort_values(
        "scale", kind="stable"
    )
    weights = {f"gold.{name}": weight for name, weight in cell.weights.items() if weight}
    measures = [*weights, "kl"]
    clusters = Clusters.of(frame, measures, across="scale")
    # (objectives + 1, 2): an objective may have rows of its own, so the means are weighted
    combine = np.zeros((len(measures), 2))
    combine[:-1, 0], combine[-1, 1] = list(weights.values()), 1
    return clusters.mean() @ combine, clusters.bootstrap(count, seed) @ combine


class Curves:
    """The curves of all policies of a study at all cells."""

    def __init__(
        self,
        study: StudyParams,
        cells: Sequence[Cell],
        variants: Sequence[Variant],
        answers: Mapping[tuple[str, int], pd.DataFrame],
    ) -> None:
        """`answers` maps (variant or `sft`, seed) to measured answers."""
        self.study, self.cells = study, list(cells)
        self.policies = list(dict.fromkeys(variant.policy for variant in variants))
        self.of: dict[tuple[str, str, int], Curve] = {}
        """(policy, domain, line) -> its curve."""
        for cell in cells:
            for policy in self.policies:
                tables = [
                    rows_at(answers, policy, cell, variants, training) for training in study.seeds
                ]
                sft = answers[REFERENCE, study.seeds[0]]
                reference = sft[(sft["domain"] == cell.domain) & (sft["line"] == 0)]
                self.of[policy, cell.domain, cell.line] = curve_of(
                    tables, reference, cell, study.bootstrap, seed=0
                )
        self.seed_draws = resamples(len(study.seeds), study.bootstrap, seed=1)
        """`(draws, seeds)`: how often each seed is drawn."""

    @property
    def domains(self) -> list[str]:
        """The domains, in the order of the objectives."""
        return list(dict.fromkeys(cell.domain for cell in self.cells))

    def over_seeds(self, draws: np.ndarray) -> np.ndarray:
        """`(draws,)`: the mean over resampled seeds of `draws` `(draws, seeds)`.

        Seeds and prompts are resampled together, so an interval covers both.
        """
        means: np.ndarray = (self.seed_draws * draws).sum(axis=1) / self.seed_draws.sum(axis=1)
        return means


def rows_at(
    answers: Mapping[tuple[str, int], pd.DataFrame],
    policy: str,
    cell: Cell,
    variants: Sequence[Variant],
    seed: int,
) -> pd.DataFrame:
    """The answers of one training of a policy at a cell, at every scale.

    A policy that has neither heads nor weights of the study gave the same answers at all cells.
    """
    of_policy = [variant for variant in variants if variant.policy == policy]
    variant = next((v for v in of_policy if v.line == cell.line), of_policy[0])
    table = answers[variant.name, seed]
    table = table[table["domain"] == cell.domain]
    at_cell = table[table["line"] == cell.line]
    return at_cell if len(at_cell) else table[table["line"] == 0]
