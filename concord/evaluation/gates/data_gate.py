"""The gate `data`: the prepared data of the candidate against those of the champion.

Each figure of `concord.prepared.data_figures` that both have is tested: has it changed by more than
the margin of its kind? The standard errors are added as if the data were independent. Data that
were appended contain the champion's, so the test is on the safe side: it accuses more seldom than
its error rate says. The margin keeps changes that are certain but small, as in large data, from
refusing a candidate.

In all data a small append is diluted. So the figures of the labels are also measured on the new
labels alone, those that the champion's data do not have, and tested against the champion's. So is
how often they prefer what the known labels predict (`concord.prepared.word_preferences`). Holm's
correction covers all tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats  # type: ignore[import-untyped]

from concord.evaluation.gates.gate_params import DataGate
from concord.evaluation.gates.sides import DATA, LABELS, Side
from concord.evaluation.gates.verdict import Row
from concord.evaluation.paired_tests import holm
from concord.objectives import Objective
from concord.prepared import label_keys
from concord.prepared.data_figures import label_figures
from concord.prepared.word_preferences import agreement_figures

SHOWN = 3
"""Number of figures that the verdict names; gate.json has all that fail."""
NEW = "new labels, "
"""Begins the name of a figure that was measured on the new labels alone."""
Figures = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class NewLabels:
    """The candidate's labels that the champion's data do not have."""

    count: int
    figures: Figures
    """Figure -> its mean and error, for figures of enough labels."""
    known: Figures
    """The figures of the known labels that are not among the champion's figures."""

    @classmethod
    def of(
        cls,
        tables: Mapping[str, pd.DataFrame],
        objectives: Mapping[str, Objective],
        known: np.ndarray,
    ) -> NewLabels:
        """Measures the labels whose keys are not in `known`, `(labels,)`."""
        old, new = label_keys.divide(tables, known)
        before, after = agreement_figures(old["pairs"], new["pairs"], objectives)
        figures = {**label_figures(new, objectives), **after}
        return cls(sum(map(len, new.values())), figures, before)


def new_labels(
    prepared: Path, objectives: Mapping[str, Objective], champion: Side
) -> NewLabels | None:
    """Measures the new labels in the prepared data; None if the champion's are not known."""
    if champion.labels is None:
        return None
    return NewLabels.of(label_keys.read_labels(prepared), objectives, champion.labels)


def data(params: DataGate, candidate: Side, champion: Side, added: NewLabels | None) -> Row:
    """No figure of the data, or of the new labels, has certainly changed by more than its margin.

    `added` is None if it is not known which labels are new.
    """
    text = f"figures of the prepared data, candidate and {champion.name}"
    settings: dict[str, Any] = {"error_rate": params.error_rate, "required": params.required}
    if candidate.data is None or champion.data is None:
        who = champion.name if candidate.data is not None else "the candidate"
        return Row("data", text, f"{who} has no {DATA}", None, **settings)
    tests = compare(params, candidate.data, champion.data, added)
    if not tests:
        return Row("data", text, "no figure is in both", None, **settings)
    failed = {name: row for name, row in tests.items() if not row["holds"]}
    if not failed:
        name, row = max(tests.items(), key=lambda item: item[1]["change"] - item[1]["margin"])
        why = f"of {len(tests)} figures, none has certainly changed by more than its margin; "
        why += f"closest to it is {in_words(name, row)}; {of_new(added, tests, champion.name)}"
        return Row("data", text, why, True, {name: row}, **settings)
    worst = sorted(failed, key=lambda name: failed[name]["p"])
    more = f"; and {len(worst) - SHOWN} more" if len(worst) > SHOWN else ""
    shown = "; ".join(in_words(name, failed[name]) for name in worst[:SHOWN])
    why = f"the data have changed by more than their margins: {shown}{more}"
    return Row("data", text, why, False, failed, **settings)


def compare(
    params: DataGate, candidate: Figures, champion: Figures, added: NewLabels | None = None
) -> dict[str, dict[str, Any]]:
    """Figure -> its test, for the figures that the champion has too.

    The names of tests of the new labels alone begin with `NEW`. `p` is corrected for all tests.
    """
    before = {**champion, **added.known} if added else champion
    rows = {
        name: _change(one, champion[name], getattr(params, one["kind"]))
        for name, one in candidate.items()
        if name in champion
    }
    rows |= {
        f"{NEW}{name}": _change(one, before[name], params.new_labels)
        for name, one in (added.figures.items() if added else ())
        if name in before
    }
    corrected = holm([row["p"] for row in rows.values()])
    return {
        name: {**row, "p": p, "holds": p > params.error_rate}
        for (name, row), p in zip(rows.items(), corrected, strict=True)
    }


def _change(one: Mapping[str, Any], two: Mapping[str, Any], margin: float) -> dict[str, Any]:
    """The test of one figure, one-sided, of the hypothesis that it changed by at most the margin.

    Its t distribution has the degrees of freedom of the side with fewer groups.
    """
    change = abs(one["mean"] - two["mean"])
    error = float(np.hypot(one["error"], two["error"]))
    degrees = max(min(one["groups"], two["groups"]) - 1, 1)
    distance = change - margin
    return {
        "candidate": one["mean"],
        "champion": two["mean"],
        "change": change,
        "standard_error": error,
        "margin": margin,
        "p": float(stats.t.sf(distance / error, degrees)) if error else float(distance <= 0),
    }


def of_new(added: NewLabels | None, tests: Mapping[str, Any], champion: str) -> str:
    """How far the new labels were tested, in words."""
    if added is None:
        return f"new labels were not tested alone, because {champion} has no {LABELS}"
    if not added.count:
        return "no label is new"
    count = sum(name.startswith(NEW) for name in tests)
    if not count:
        return f"{added.count} new labels are too few to be tested alone"
    return f"{count} of the figures are of the {added.count} new labels alone"


def in_words(name: str, row: Mapping[str, Any]) -> str:
    """A figure, for a message.

    Examples:
        >>> in_words("helpful: mean rating", {"candidate": 0.4, "champion": 0.7, "margin": 0.1})
        'helpful: mean rating 0.400, was 0.700, margin 0.1'
    """
    return f"{name} {row['candidate']:.3f}, was {row['champion']:.3f}, margin {row['margin']:g}"
