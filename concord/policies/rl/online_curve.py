"""The training curve of a method that samples, as CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from concord.policies.objective_gradients import COSINE, INFLUENCE
from concord.policies.rl.reward_function import LOGGED
from concord.stage import outputs

COLUMNS = (
    "loss",
    "kl",
    "entropy",
    "grad_norm",
    "learning_rate",
    "completions/mean_length",
    "reward_std",
)


def write_curve(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """Writes one row per step.

    The columns are loss, KL, entropy, gradient norm, learning rate, mean length, the standard
    deviation of the advantages, and for each objective its raw, anchored and weighted reward and
    its weight, as means over the samples to which it applies. Cosines of gradients and influences
    are empty in steps without a measurement.
    """
    rows = [entry for entry in history if "loss" in entry]
    prefixes = (*LOGGED, COSINE, INFLUENCE)
    of_objectives = sorted(
        {name for row in rows for name in row if name.partition(".")[0] in prefixes}
    )
    with outputs.file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(
            file,
            ["step", *COLUMNS, *of_objectives],
            extrasaction="ignore",
            lineterminator="\n",
        )
        writer.writeheader()
        writer.writerows({name: _rounded(value) for name, value in row.items()} for row in rows)


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value
