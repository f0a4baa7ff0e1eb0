"""What came of a run, as Prefect artifacts: the tables of the results and of the stages, and a link to the report."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import create_link_artifact, create_table_artifact

from flows.stage import Outcome
from tasks.stage.params import read

REPORT = Path("reports/index.html")


def results(outcomes: Sequence[Outcome]) -> None:
    """Publishes what there is."""
    create_table_artifact(stages(outcomes), key="stages", description="What became of each stage")
    if table := policies():
        create_table_artifact(table, key="results", description="Mean gold reward of each policy, by objective")
    if REPORT.exists():
        create_link_artifact(
            REPORT.resolve().as_uri(), key="report", link_text="Report", description="The whole report"
        )


def stages(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """A row a stage."""
    return [
        {
            "stage": outcome.stage.name,
            "phase": outcome.stage.meta.phase,
            "happened": outcome.happened,
            "seconds": round(outcome.seconds, 1),
            "budget": outcome.stage.budget,
        }
        for outcome in outcomes
    ]


def policies() -> list[dict[str, Any]]:
    """A row a policy of params.yaml that has been evaluated: its name and a column an objective."""
    files = {name: Path(f"reports/policies/{name}.json") for name in read().get("policies", {})}
    reports = {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.exists()}
    return [
        {"policy": name, **{key: value.get("gold_mean") for key, value in report.get("objectives", {}).items()}}
        for name, report in reports.items()
    ]
