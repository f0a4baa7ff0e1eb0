"""The verdict: a row per gate, what they come to, and the lines for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

POWER = 0.95
"""A test that passes an equal model less often than this is reported as weak."""
PASSES = "equal_model_passes"
"""The figure of a test: how often it passes a model that is equal to the champion."""
RESULTS = {True: "holds", False: "fails", None: "not tested"}

MEANS = ("objectives", "verifiers")
"""The gates with a test per objective."""


@dataclass(frozen=True)
class Row:
    """What one gate says."""

    name: str
    """The gate, as in the section `gate`."""
    compared: str
    """What was compared with what."""
    why: str
    """What came of it, in words; if it fails, what failed and by how much."""
    holds: bool | None = None
    """None if it could not be tested."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Name of a test -> its figures."""
    margin: float | None = None
    error_rate: float | None = None
    required: bool = True
    """Whether a failure refuses the candidate."""


def verdict(champion: str, rows: Sequence[Row]) -> dict[str, Any]:
    """The content of reports/gate.json."""
    refusing = [row.why for row in rows if row.required and row.holds is False]
    despite = [row.why for row in rows if not row.required and row.holds is False]
    text = f"accepted: no objective is worse than {champion} by more than its margin"
    text += "".join(f", despite {why}" for why in despite)
    return {
        "accepted": not refusing,
        "verdict": f"refused: {'; '.join(refusing)}" if refusing else text,
        "champion": champion,
        PASSES: equal_model_passes(rows),
        "gates": [asdict(row) for row in rows],
    }


def equal_model_passes(rows: Sequence[Row]) -> float | None:
    """Lower bound of the probability that a model equal to the champion passes every paired test;
    None without such a test.
    """
    chances = [
        figures[PASSES] for row in rows for figures in row.figures.values() if PASSES in figures
    ]
    return max(0.0, 1.0 - sum(1.0 - chance for chance in chances)) if chances else None


def means_of(content: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Objective -> its test against the champion, from the verdict; empty if nothing was judged."""
    return {
        name: figures
        for row in content["gates"]
        if row["name"] in MEANS
        for name, figures in row["figures"].items()
    }


def summary(content: Mapping[str, Any]) -> list[str]:
    """The verdict, a line per gate, and a warning if a test can hardly accept anything."""
    lines = [content["verdict"]]
    for row in content["gates"]:
        mark = "" if row["required"] or row["holds"] is not False else " (only reported)"
        lines.append(f"  {row['name']:<12} {RESULTS[row['holds']]}{mark}: {row['why']}")
    chance = content[PASSES]
    if chance is not None and chance < POWER:
        gate, name = min(
            (
                (row["name"], name)
                for row in content["gates"]
                for name, figures in row["figures"].items()
                if PASSES in figures
            ),
            key=lambda key: _chance(content, *key),
        )
        key = f"gate.{gate}.margin" if gate == "hypervolume" else f"gate.{gate}.margins.{name}"
        lines.append(
            f"warning: a model equal to the champion passes in at least {chance:.0%} of runs only "
            f"(weakest: {name}); raise evaluate.prompts or {key}"
        )
    return lines


def _chance(content: Mapping[str, Any], gate: str, name: str) -> float:
    row = next(row for row in content["gates"] if row["name"] == gate)
    return float(row["figures"][name][PASSES])
