"""Diagnostics of one reward head on held-out pairs: cheap baselines, calibration, most confident
errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from concord.evaluation.metrics import rank_correlation
from concord.evaluation.rewards.baselines import accuracy_where_known, pair_margins
from concord.rewards.outcome.calibration import expected_calibration_error, reliability

ERRORS = 5
"""Number of confident errors to show."""
SHOWN = 600
"""Longest text to show, in characters."""


def head_diagnostics(
    pairs: pd.DataFrame,
    train: pd.DataFrame,
    chosen: np.ndarray,
    rejected: np.ndarray,
    temperature: float | None,
) -> dict[str, Any]:
    """Diagnostics of one head: `baselines`, `by_source`, `calibration` and `confident_errors`.

    `chosen` and `rejected` are scores (pairs,) of both sides of the judged `pairs`; baselines are
    fitted on `train`. `temperature` is the calibration of the head. Without pairs to fit it on it
    is None, and the margins are not scaled. A baseline has an interval and `pairs`, the number of
    pairs that it applies to, or is None if it applies to none.
    """
    scale = 1.0 if temperature is None else temperature
    bins = reliability(chosen - rejected, scale)
    rivals = pair_margins(train, pairs)
    return {
        "baselines": _accuracies(pairs, rivals),
        "by_source": by_source(pairs, {"head": chosen - rejected, **rivals}),
        "calibration": {
            "temperature": temperature,
            "error": expected_calibration_error(bins),
            "reliability": bins,
        },
        "confident_errors": confident_errors(pairs, chosen - rejected, scale),
    }


def by_source(pairs: pd.DataFrame, margins: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Source -> `pairs` and accuracy of each of the `margins`, (pairs,), on its pairs; empty with
    one source only.
    """
    if "source" not in pairs.columns or pairs["source"].nunique() < 2:
        return {}
    return {
        str(source): {
            "pairs": len(rows),
            **_accuracies(
                pairs.iloc[rows], {name: values[rows] for name, values in margins.items()}
            ),
        }
        for source, rows in sorted(pairs.groupby("source").indices.items())
    }


def _accuracies(
    pairs: pd.DataFrame, margins: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float] | None]:
    """Accuracy of each of the margins, and the number of `pairs` with a margin."""
    accuracies = {
        name: (accuracy_where_known(pairs, values), int((~np.isnan(values)).sum()))
        for name, values in margins.items()
    }
    return {
        name: each.named() | {"pairs": known} if each else None
        for name, (each, known) in accuracies.items()
    }


def confident_errors(
    pairs: pd.DataFrame, margins: np.ndarray, temperature: float
) -> list[dict[str, Any]]:
    """The most confident wrong pairs, worst first: texts, and the probability given to the rejected
    side.
    """
    worst = [int(row) for row in np.argsort(margins, kind="stable")[:ERRORS] if margins[row] < 0]
    return [
        {
            "prompt": truncated(pairs["messages"].iloc[row][-1]["content"]),
            "chosen": truncated(pairs["chosen"].iloc[row]),
            "rejected": truncated(pairs["rejected"].iloc[row]),
            "probability": float(1 / (1 + np.exp(margins[row] / temperature))),
        }
        for row in worst
    ]


def truncated(text: str) -> str:
    """The text, cut to SHOWN characters."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def agreement(scores: Mapping[str, Sequence[float] | np.ndarray], name: str) -> dict[str, float]:
    """Rank correlation of one head's scores with those of every other head, on the same answers."""
    return {
        other: rank_correlation(scores[name], other_scores)
        for other, other_scores in scores.items()
        if other != name
    }
