"""Compares the candidate with the champion on every objective and writes the verdict.

    reports/select.json, reports/policies/<policy>.json, models/champion.json
    -> reports/gate.json

    python -m tasks.gate

The candidate is the selected policy at the selected weights, measured on held-out prompts. It is
accepted if no objective is below the champion's by more than its margin. The verdict is a metric: a
refusal does not fail the stage. After a model has been published, `candidate` of the output becomes
models/champion.json. An empty mapping there means that there is no champion yet.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.stage import outputs
from concord.stage.errors import DataError, ParamsError, command
from concord.stage.params import FORBID, load
from concord.stage.paths import REPORTS

NO_CHAMPION = "accepted: no champion"


@dataclass(frozen=True, config=FORBID)
class GateParams:
    """The section `gate`."""

    champion: str
    """File with the results of the published model, in the format of `candidate` in
    reports/gate.json."""
    margins: dict[str, Annotated[float, Field(ge=0)]] = field(default_factory=dict)
    """Objective -> how far its mean may be below the champion's. The default is 0."""


def run(params: GateParams) -> dict[str, Any]:
    """Writes and returns the verdict."""
    choice = outputs.read_json(REPORTS / "select.json")
    candidate = candidate_results(
        choice, outputs.read_json(REPORTS / f"policies/{choice['policy']}.json")
    )
    unknown = set(params.margins) - set(candidate["objectives"])
    if unknown:
        allowed = ", ".join(candidate["objectives"])
        raise ParamsError(f"gate.margins.{min(unknown)}: unknown objective; allowed: {allowed}")
    verdict = {
        **compare(candidate, champion(Path(params.champion)), params.margins),
        "candidate": candidate,
    }
    outputs.write_json(REPORTS / "gate.json", verdict)
    return verdict


def candidate_results(choice: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
    """The candidate's results on held-out prompts at the selected points."""
    objectives: dict[str, Any] = {}
    for domain, point in choice["points"].items():
        entry = next(
            (e for e in report["points"] if e["domain"] == domain and e["point"] == point), None
        )
        if entry is None:
            raise DataError(
                f"point {point} of {domain} was not evaluated; "
                f"rerun the stage evaluate@{choice['policy']}"
            )
        objectives |= {
            name: {key: figures[key] for key in ("gold_mean", "ci_low", "ci_high", "n")}
            for name, figures in entry["objectives"].items()
        }
    seeds = report["seeds"]
    return {
        "policy": choice["policy"],
        "weights": choice["weights"],
        "objectives": objectives,
        "seeds": seeds,
    }


def champion(path: Path) -> dict[str, Any] | None:
    """The champion's results; None if the file is missing or holds an empty mapping."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            f"{path} is not valid JSON ({error}); "
            "restore it from git, or write {} for no champion"
        ) from None
    if content == {}:
        return None
    if not isinstance(content, dict) or not isinstance(content.get("objectives"), dict):
        raise DataError(
            f"{path} has no `objectives`; restore it from git, or write {{}} for no champion"
        )
    return content


def compare(
    candidate: Mapping[str, Any], against: Mapping[str, Any] | None, margins: Mapping[str, float]
) -> dict[str, Any]:
    """The verdict, and per objective both means, their difference, the margin and the result."""
    if against is None:
        return {"verdict": NO_CHAMPION, "accepted": True, "comparable": False, "objectives": {}}
    rows: dict[str, dict[str, Any]] = {}
    for name in sorted(set(candidate["objectives"]) | set(against["objectives"])):
        new, old = (
            side["objectives"].get(name, {}).get("gold_mean") for side in (candidate, against)
        )
        difference = None if new is None or old is None else new - old
        holds = old is None or (difference is not None and difference >= -margins.get(name, 0.0))
        rows[name] = {
            "candidate": new,
            "champion": old,
            "difference": difference,
            "margin": margins.get(name, 0.0),
            "holds": holds,
        }
    worse = [name for name, row in rows.items() if not row["holds"]]
    verdict = (
        f"refused: {', '.join(worse)} beyond the margin"
        if worse
        else "accepted: no objective beyond its margin"
    )
    comparable = candidate.get("seeds") == against.get("seeds")
    return {"verdict": verdict, "accepted": not worse, "comparable": comparable, "objectives": rows}


def main() -> None:
    """Runs the stage."""
    print(run(load(GateParams, "gate"))["verdict"])


if __name__ == "__main__":
    command(main)
