"""The result of a study: curves, bands of equal KL, regret, control, hypervolume, and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from concord.evaluation.metrics import interval
from concord.evaluation.policies.front import hypervolume
from concord.evaluation.study.control import control, objective_means
from concord.evaluation.study.curves import Curves
from concord.evaluation.study.recipe import REFERENCE, Variant
from concord.evaluation.study.regret import regrets

BANDS = (0.5, 1.0, 2.0)
"""KL divergences at which all policies are compared, in nats per answer."""
DEPTHS = (1, 2, 3)
"""Reference points of the hypervolume: the SFT model less so many standard deviations."""
ACCURACIES = (0.5, 0.4, 0.3)
"""Reference points of the hypervolume of pair accuracies."""


def result(
    curves: Curves,
    variants: Sequence[Variant],
    answers: Mapping[tuple[str, int], pd.DataFrame],
    cpu_seconds: Mapping[tuple[str, int], float],
) -> dict[str, Any]:
    """All figures of a study.

    Args:
        curves: the curves of all policies.
        variants: the trainings of one seed.
        answers: (variant or `sft`, seed) -> its measured answers.
        cpu_seconds: (variant, seed) -> CPU time of its training.
    """
    return {
        "curves": [_curve(curves, *key) for key in curves.of],
        "bands": [_bands(curves, *key) for key in curves.of],
        **regrets(curves),
        "control": {
            domain: control(curves, variants, answers, domain) for domain in curves.domains
        },
        "hypervolume": {
            domain: hypervolumes(curves, variants, answers, domain) for domain in curves.domains
        },
        "costs": costs(curves.policies, variants, cpu_seconds),
    }


def _curve(curves: Curves, policy: str, domain: str, line: int) -> dict[str, Any]:
    curve = curves.of[policy, domain, line]
    bounds = [
        interval(value, curves.over_seeds(curve.utility_draws[..., point]))
        for point, value in enumerate(curve.utility.mean(axis=0))
    ]
    return {
        "policy": policy,
        "domain": domain,
        "line": line,
        "kl": curve.kl.mean(axis=0).tolist(),
        "utility": [bound.value for bound in bounds],
        "ci_low": [bound.low for bound in bounds],
        "ci_high": [bound.high for bound in bounds],
    }


def _bands(curves: Curves, policy: str, domain: str, line: int) -> dict[str, Any]:
    """Utility at each KL of `BANDS`; None where a training did not go so far."""
    curve = curves.of[policy, domain, line]
    values = {}
    for kl in BANDS:
        at = curve.at(np.full(len(curve.kl), kl))
        values[str(kl)] = None if np.isnan(at).any() else float(at.mean())
    return {"policy": policy, "domain": domain, "line": line, "utility": values}


def hypervolumes(
    curves: Curves,
    variants: Sequence[Variant],
    answers: Mapping[tuple[str, int], pd.DataFrame],
    domain: str,
) -> dict[str, dict[str, float]]:
    """Policy -> hypervolume of its points at all weights, a mean over seeds, by reference point.

    Only policies with a point of their own at every weight are compared, so all sets have the same
    size. The reference points are the SFT model's means less 1, 2 and 3 standard deviations of its
    answers; for pair accuracies, .5, .4 and .3.
    """
    sft = answers[REFERENCE, curves.study.seeds[0]]
    cells = [cell for cell in curves.cells if cell.domain == domain]
    columns = [f"gold.{name}" for name in cells[0].weights]
    gold = sft.loc[(sft["domain"] == domain) & (sft["line"] == 0), columns]
    points = {f"{depth} sd": list(gold.mean() - depth * gold.std()) for depth in DEPTHS}
    if curves.study.protocol == "likelihood":
        points = {str(accuracy): [accuracy] * len(columns) for accuracy in ACCURACIES}
    volumes = {}
    for policy in curves.policies:
        means = objective_means(curves, variants, answers, policy, domain)
        if means.distinct:
            volumes[policy] = {
                name: float(np.mean([hypervolume(m, point) for m in means.values]))
                for name, point in points.items()
            }
    return volumes


def costs(
    policies: Sequence[str],
    variants: Sequence[Variant],
    cpu_seconds: Mapping[tuple[str, int], float],
) -> dict[str, dict[str, float]]:
    """Policy -> trainings per seed, and their total CPU time as a mean over seeds."""
    seeds = {seed for _, seed in cpu_seconds}
    table = {}
    for policy in policies:
        names = [variant.name for variant in variants if variant.policy == policy]
        totals = [sum(cpu_seconds.get((name, seed), np.nan) for name in names) for seed in seeds]
        table[policy] = {"trainings": len(names), "cpu_seconds": float(np.mean(totals))}
    return table
