"""The gate `data`: the prepared data of the candidate against those of the champion.

Each figure of `concord.prepared.data_figures` that both have is tested: has it changed by more than
the margin of its kind? The standard errors are added as if the data were independent. Data that
were appended contain the champion's, so the test is on the safe side: it accuses more seldom than
its error rate says. Holm's correction covers all figures. The margin keeps changes that are certain
but small, as in large data, from refusing a candidate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

from concord.evaluation.gates.gate_params import DataGate
from concord.evaluation.gates.sides import DATA, Side
from concord.evaluation.gates.verdict import Row
from concord.evaluation.paired_tests import holm

SHOWN = 3
"""Number of figures that the verdict names; gate.json has all that fail."""
Figures = Mapping[str, Mapping[str, Any]]


def data(params: DataGate, candidate: Side, champion: Side) -> Row:
    """No figure of the data has certainly changed by more than its margin."""
    text = f"figures of the prepared data, candidate and {champion.name}"
    settings: dict[str, Any] = {"error_rate": params.error_rate, "required": params.required}
    if candidate.data is None or champion.data is None:
        who = champion.name if candidate.data is not None else "the candidate"
        return Row("data", text, f"{who} has no {DATA}", None, **settings)
    tests = compare(params, candidate.data, champion.data)
    if not tests:
        return Row("data", text, "no figure is in both", None, **settings)
    failed = {name: row for name, row in tests.items() if not row["holds"]}
    if not failed:
        name, row = max(tests.items(), key=lambda item: item[1]["change"] - item[1]["margin"])
        why = f"of {len(tests)} figures, none has certainly changed by more than its margin; "
        why += f"closest to it is {in_words(name, row)}"
        return Row("data", text, why, True, {name: row}, **settings)
    worst = sorted(failed, key=lambda name: failed[name]["p"])
    more = f"; and {len(worst) - SHOWN} more" if len(worst) > SHOWN else ""
    shown = "; ".join(in_words(name, failed[name]) for name in worst[:SHOWN])
    why = f"the data have changed by more than their margins: {shown}{more}"
    return Row("data", text, why, False, failed, **settings)


def compare(params: DataGate, candidate: Figures, champion: Figures) -> dict[str, dict[str, Any]]:
    """Figure -> its test, for the figures that both have.

    The test is one-sided, of the hypothesis that the size of the change is at most the margin. Its
    t distribution has the degrees of freedom of the side with fewer groups. `p` is corrected.
    """
    rows, p = {}, []
    for name in (name for name in candidate if name in champion):
        one, two = candidate[name], champion[name]
        margin = getattr(params, one["kind"])
        change = abs(one["mean"] - two["mean"])
        error = float(np.hypot(one["error"], two["error"]))
        degrees = max(min(one["groups"], two["groups"]) - 1, 1)
        distance = change - margin
        p.append(float(stats.t.sf(distance / error, degrees)) if error else float(distance <= 0))
        rows[name] = {
            "candidate": one["mean"],
            "champion": two["mean"],
            "change": change,
            "standard_error": error,
            "margin": margin,
        }
    return {
        name: {**row, "p": corrected, "holds": corrected > params.error_rate}
        for (name, row), corrected in zip(rows.items(), holm(p), strict=True)
    }


def in_words(name: str, row: Mapping[str, Any]) -> str:
    """A figure, for a message.

    Examples:
        >>> in_words("helpful: mean rating", {"candidate": 0.4, "champion": 0.7, "margin": 0.1})
        'helpful: mean rating 0.400, was 0.700, margin 0.1'
    """
    return f"{name} {row['candidate']:.3f}, was {row['champion']:.3f}, margin {row['margin']:g}"
