"""Publishes a run as Prefect artifacts: tables of stages and results, and a link to the report."""

import json
from collections.abc import Sequence
from typing import Any

from prefect.artifacts import create_link_artifact, create_table_artifact

from concord.stage.params import read
from concord.stage.paths import REPORTS
from flows.stage import Outcome

REPORT = REPORTS / "index.html"


def results(outcomes: Sequence[Outcome]) -> None:
    """Publishes the available results."""
    create_table_artifact(stages(outcomes), key="stages", description="Status of each stage")
    if reports := evaluated():
        measure = next(iter(reports.values())).get("measure", "gold mean")
        create_table_artifact(
            policies(reports),
            key="results",
            description=f"{measure} of each policy at equal weights, by objective",
        )
    if REPORT.exists():
        create_link_artifact(
            REPORT.resolve().as_uri(),
            key="report",
            link_text="Report",
            description="The full report",
        )


def stages(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """One row per stage."""
    return [
        {
            "stage": outcome.stage.name,
            "phase": outcome.stage.meta.phase,
            "status": outcome.status,
            "seconds": round(outcome.seconds, 1),
            "budget": outcome.stage.budget,
        }
        for outcome in outcomes
    ]


def evaluated() -> dict[str, Any]:
    """Policy -> report, for the policies in params.yaml that have been evaluated."""
    files = {name: REPORTS / f"policies/{name}.json" for name in read().get("policies", {})}
    return {
        name: json.loads(file.read_text(encoding="utf-8"))
        for name, file in files.items()
        if file.exists()
    }


def policies(reports: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per policy: its name, and a column per objective."""
    return [
        {
            "policy": name,
            **{key: value.get("gold_mean") for key, value in report.get("objectives", {}).items()},
        }
        for name, report in reports.items()
    ]
