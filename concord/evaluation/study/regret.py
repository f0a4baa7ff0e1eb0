"""Steering regret: what the user of one steered policy loses against specialists, at equal KL.

For each weight vector, the regret against a rival is the rival's utility less that of the steered
policy, both at the smaller of the KL divergences from the SFT model that the two reached.
Negative regret means that the steered policy is better. The regret against `best` is that against
the best rival of each weight vector and seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

from concord.evaluation.metrics import interval
from concord.evaluation.paired_tests import holm
from concord.evaluation.study.curves import Curve, Curves
from concord.evaluation.study.recipe import Cell

BEST = "best"


@dataclass(frozen=True)
class Gap:
    """A difference of utilities."""

    values: np.ndarray
    """`(seeds,)`."""
    draws: np.ndarray
    """`(draws, seeds)`: resamples of the prompts."""


def gap(rival: Curve, steered: Curve) -> Gap:
    """The utility of `rival` less that of `steered`, at the smaller of their largest KLs."""
    target = np.minimum(rival.kl[:, -1], steered.kl[:, -1])
    drawn = np.minimum(rival.kl_draws[..., -1], steered.kl_draws[..., -1])
    return Gap(
        rival.at(target) - steered.at(target), rival.draws_at(drawn) - steered.draws_at(drawn)
    )


def largest(gaps: Sequence[Gap]) -> Gap:
    """The largest of several gaps, for every seed and resample."""
    return Gap(
        np.max([one.values for one in gaps], axis=0), np.max([one.draws for one in gaps], axis=0)
    )


def mean(gaps: Sequence[Gap]) -> Gap:
    """The mean of several gaps."""
    return Gap(
        np.mean([one.values for one in gaps], axis=0), np.mean([one.draws for one in gaps], axis=0)
    )


def regrets(curves: Curves) -> dict[str, Any]:
    """Rival, or `best` -> its figures per cell and domain, and over all domains.

    Domains count equally. `tests` has the exact sign-flip test over seeds of each rival's mean
    difference, with Holm's correction over the rivals.
    """
    study = curves.study
    by_rival: dict[str, dict[tuple[str, int], Gap]] = {
        rival: {
            (cell.domain, cell.line): gap(
                curves.of[rival, cell.domain, cell.line],
                curves.of[study.steered, cell.domain, cell.line],
            )
            for cell in curves.cells
        }
        for rival in study.rivals
    }
    best = {
        (cell.domain, cell.line): largest(
            [gaps[cell.domain, cell.line] for gaps in by_rival.values()]
        )
        for cell in curves.cells
    }
    result = {rival: _figures(curves, gaps) for rival, gaps in {BEST: best, **by_rival}.items()}
    overall = {rival: _overall(curves, gaps).values for rival, gaps in by_rival.items()}
    return {"regret": result, "tests": tests(overall)}


def _figures(curves: Curves, gaps: Mapping[tuple[str, int], Gap]) -> dict[str, Any]:
    cells: list[dict[str, Any]] = [
        {
            "domain": cell.domain,
            "line": cell.line,
            "weights": cell.weights,
            **_interval(curves, gaps[cell.domain, cell.line]),
        }
        for cell in curves.cells
    ]
    return {
        "cells": cells,
        "domains": {
            domain: {
                **_interval(curves, _of_domain(curves.cells, gaps, domain)),
                "worst": max(cell["regret"] for cell in cells if cell["domain"] == domain),
            }
            for domain in curves.domains
        },
        "overall": _interval(curves, _overall(curves, gaps)),
        "rival_better": sum(cell["ci_low"] > 0 for cell in cells),
        "steered_better": sum(cell["ci_high"] < 0 for cell in cells),
    }


def _interval(curves: Curves, one: Gap) -> dict[str, float]:
    return interval(float(np.mean(one.values)), curves.over_seeds(one.draws)).named("regret")


def _of_domain(cells: Sequence[Cell], gaps: Mapping[tuple[str, int], Gap], domain: str) -> Gap:
    return mean([gaps[cell.domain, cell.line] for cell in cells if cell.domain == domain])


def _overall(curves: Curves, gaps: Mapping[tuple[str, int], Gap]) -> Gap:
    return mean([_of_domain(curves.cells, gaps, domain) for domain in curves.domains])


def tests(differences: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Name -> two-sided p-value that the mean of its paired differences `(seeds,)` is 0.

    The test flips signs, exactly while all flips can be listed. With n seeds, no p-value is below
    2 / 2^n. `p_holm` is corrected for the number of names (Holm 1979).

    Examples:
        >>> tests({"rival": np.array([0.1, 0.2, 0.3])})["rival"]["p"]
        0.25
    """
    p = {
        name: float(
            stats.permutation_test(
                (values,), np.mean, permutation_type="samples", n_resamples=10_000, rng=0
            ).pvalue
        )
        if len(values) > 1
        else 1.0
        for name, values in differences.items()
    }
    return {
        name: {"p": p[name], "p_holm": corrected}
        for name, corrected in zip(p, holm(list(p.values())), strict=True)
    }
