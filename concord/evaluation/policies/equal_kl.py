"""Policies at the owner's weights, compared at equal KL from the SFT model.

A policy is measured at several scales between the SFT model and what was trained
(`evaluate.scales`). Its utility at another KL is interpolated linearly. Nothing is extrapolated
beyond what was trained. A study does the same over many weights and seeds
(`concord.evaluation.study`); this is one training at one weight vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from concord.evaluation.metrics import interval
from concord.evaluation.policies.protocol import DEFAULT, EQUAL
from concord.evaluation.study.curves import Curve, curve_of
from concord.evaluation.study.recipe import Cell
from concord.evaluation.study.regret import gap
from concord.evaluation.study.result import BANDS

if TYPE_CHECKING:
    from concord.evaluation.policies.comparison import Bootstrap


def equal_kl(
    units: Mapping[str, pd.DataFrame],
    scaled: Mapping[str, pd.DataFrame],
    domain: str,
    weights: Mapping[str, float],
    reference: str,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Curves of utility against KL, the utility at each KL of `BANDS`, and paired differences.

    Args:
        units: policy -> its held-out answers in `domain`.
        scaled: policy -> its answers between SFT and what was trained; those without are left out.
        domain: the domain.
        weights: objective -> weight in the utility; the sum is 1.
        reference: the policy that is the SFT model.
        bootstrap: resamples per interval; all policies share them.
    """
    cell = Cell(domain, 0, dict(weights))
    sft = _at_default(units[reference])
    curves = {}
    for policy, table in scaled.items():
        if policy == reference or not len(between := table[table["domain"] == domain]):
            continue
        whole = _at_default(units[policy]).assign(scale=1.0)
        answers = pd.concat([between, whole], ignore_index=True)
        curves[policy] = curve_of([answers], sft, cell, bootstrap.count, bootstrap.seed)
    return {
        "weights": cell.weights,
        "curves": [_curve(policy, curve, cell) for policy, curve in curves.items()],
        "bands": {policy: _bands(curve) for policy, curve in curves.items()},
        "leads": {
            policy: {
                rival: _lead(curve, other) for rival, other in curves.items() if rival != policy
            }
            for policy, curve in curves.items()
        },
    }


def _at_default(frame: pd.DataFrame) -> pd.DataFrame:
    """The answers at the owner's weights; at `equal` if there is no such point of its own."""
    at = frame[frame["point"] == DEFAULT]
    return at if len(at) else frame[frame["point"] == EQUAL]


def _curve(policy: str, curve: Curve, cell: Cell) -> dict[str, Any]:
    bounds = [
        interval(value, curve.utility_draws[:, 0, point])
        for point, value in enumerate(curve.utility[0])
    ]
    return {
        "policy": policy,
        "domain": cell.domain,
        "line": cell.line,
        "kl": curve.kl[0].tolist(),
        "utility": [bound.value for bound in bounds],
        "ci_low": [bound.low for bound in bounds],
        "ci_high": [bound.high for bound in bounds],
    }


def _bands(curve: Curve) -> dict[str, float | None]:
    """KL -> utility there; None beyond what was trained."""
    values = {kl: float(curve.at(np.array([kl]))[0]) for kl in BANDS}
    return {f"{kl:g}": None if np.isnan(value) else value for kl, value in values.items()}


def _lead(policy: Curve, rival: Curve) -> dict[str, float]:
    """Utility of the policy less that of the rival, at the smaller of their largest KLs."""
    difference = gap(policy, rival)
    at = float(min(policy.kl[0, -1], rival.kl[0, -1]))
    return {**interval(float(difference.values[0]), difference.draws[:, 0]).named(), "kl": at}
