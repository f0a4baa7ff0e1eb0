"""How far a reward head may be trusted: beside guesses that are easy to make, how sure it is, and where it is surest
and wrong. All on judged pairs that it was not fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from concord.evaluation.metrics import rank_correlation
from concord.evaluation.rewards.baselines import of_rows, pair_margins
from concord.rewards.outcome.calibration import expected_error, reliability

ERRORS = 5
"""Of the pairs that a head is surest of and wrong about, so many are shown."""
SHOWN = 600
"""Characters of a text that are shown."""


def trust(
    pairs: pd.DataFrame,
    train: pd.DataFrame,
    chosen: np.ndarray,
    rejected: np.ndarray,
    temperature: float | None,
) -> dict[str, Any]:
    """`baselines` (name -> interval and `pairs`, or null where it cannot be had), the same `by_source`, `calibration`
    and `confident_errors` of one head.

    Args: judged `pairs` with scores (pairs,) of both sides; the pairs that baselines may be fitted to; the head's
    temperature, None where there was no pair to fit it to (its margins are then taken as they are).
    """
    scale = 1.0 if temperature is None else temperature
    bins = reliability(chosen - rejected, scale)
    rivals = pair_margins(train, pairs)
    return {
        "baselines": _accuracies(pairs, rivals),
        "by_source": by_source(pairs, {"head": chosen - rejected, **rivals}),
        "calibration": {
            "temperature": temperature,
            "error": expected_error(bins),
            "reliability": bins,
        },
        "confident_errors": confident_errors(pairs, chosen - rejected, scale),
    }


def by_source(pairs: pd.DataFrame, margins: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Source -> `pairs`, and the accuracy of each of the `margins` (pairs,) on its pairs alone; empty unless there are
    several."""
    if "source" not in pairs.columns or pairs["source"].nunique() < 2:
        return {}
    return {
        str(source): {
            "pairs": len(rows),
            **_accuracies(pairs.iloc[rows], {name: own[rows] for name, own in margins.items()}),
        }
        for source, rows in sorted(pairs.groupby("source").indices.items())
    }


def _accuracies(
    pairs: pd.DataFrame, margins: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float] | None]:
    """Accuracy of each of the margins, and the number of `pairs` of which it says something."""
    found = {
        name: (of_rows(pairs, own), int((~np.isnan(own)).sum())) for name, own in margins.items()
    }
    return {
        name: each.named() | {"pairs": known} if each else None
        for name, (each, known) in found.items()
    }


def confident_errors(
    pairs: pd.DataFrame, margins: np.ndarray, temperature: float
) -> list[dict[str, Any]]:
    """The pairs that are wrong by most, worst first: texts, and how likely the head held the rejected side."""
    worst = [
        int(place) for place in np.argsort(margins, kind="stable")[:ERRORS] if margins[place] < 0
    ]
    return [
        {
            "prompt": shown(pairs["messages"].iloc[place][-1]["content"]),
            "chosen": shown(pairs["chosen"].iloc[place]),
            "rejected": shown(pairs["rejected"].iloc[place]),
            "probability": float(1 / (1 + np.exp(margins[place] / temperature))),
        }
        for place in worst
    ]


def shown(text: str) -> str:
    """A text, cut where it is long."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def agreement(scores: Mapping[str, Sequence[float] | np.ndarray], name: str) -> dict[str, float]:
    """Rank correlation of one head's scores with those of every other head of its model, on the same answers."""
    return {
        other: rank_correlation(scores[name], own) for other, own in scores.items() if other != name
    }
