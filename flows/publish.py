"""Publishes a run as Prefect artifacts: tables, a summary, the picture of the front, and links.

The keys contain the label of the run, so runs of one recipe are versions of one artifact, and
recipes do not replace each other's.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from concord.stage.params import read
from concord.stage.paths import REPORTS
from flows.labels import key
from flows.stage import Outcome

PAGE = REPORTS / "index.html"
FRONT = REPORTS / "front.svg"
RESULTS = {True: "accepted", False: "**refused**", None: "not tested"}


def results(outcomes: Sequence[Outcome], label: str) -> None:
    """Publishes the available results of the run in the working directory."""
    create_table_artifact(
        stages(outcomes), key=key("stages", label), description="Status of each stage"
    )
    if reports := evaluated():
        measure = next(iter(reports.values())).get("measure", "gold mean")
        create_table_artifact(
            policies(reports),
            key=key("results", label),
            description=f"{measure} of each policy at equal weights, by objective",
        )
    create_markdown_artifact(
        "\n".join(summary(label, _json("gate"), _json("select"))),
        key=key("summary", label),
        description="The verdict of the gate, and links to the files",
    )
    if FRONT.exists():
        create_image_artifact(
            picture(FRONT), key=key("front", label), description="The policies on the front"
        )
    if PAGE.exists():
        create_link_artifact(
            PAGE.resolve().as_uri(),
            key=key("report", label),
            link_text="Report",
            description="The full report",
        )


def policy() -> str:
    """The policy that is published, for the tags; empty if params.yaml has none."""
    return str((read().get("select") or {}).get("policy", ""))


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
    files = {name: f"policies/{name}" for name in read().get("policies", {})}
    return {name: report for name, file in files.items() if (report := _json(file)) is not None}


def policies(reports: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per policy: its name, and a column per objective."""
    return [
        {
            "policy": name,
            **{key: value.get("gold_mean") for key, value in report.get("objectives", {}).items()},
        }
        for name, report in reports.items()
    ]


def summary(
    label: str, gate: Mapping[str, Any] | None, select: Mapping[str, Any] | None
) -> Iterator[str]:
    """Lines of Markdown: the verdict of each gate, the weights, and links to the files."""
    yield f"# {label}\n"
    if gate is not None:
        yield f"**{gate.get('verdict') or RESULTS[gate['accepted']]}**\n"
        yield "| gate | result | why |"
        yield "|---|---|---|"
        for row in gate.get("gates", []):
            yield f"| {row['name']} | {RESULTS[row['holds']]} | {row['why']} |"
        yield ""
    if select is not None:
        domains = select.get("domains", {}).values()
        weights = {name: value for one in domains for name, value in one["weights"].items()}
        yield "Weights: " + ", ".join(f"{name} {value:.3g}" for name, value in weights.items())
        yield ""
    for file in (PAGE, REPORTS / "gate.json", FRONT):
        if file.exists():
            yield f"- [{file}]({file.resolve().as_uri()}): `{file.resolve()}`"


def picture(file: Path) -> str:
    """The picture itself as an address. A browser does not load files from a server's page."""
    content = base64.b64encode(file.read_bytes()).decode("ascii")
    return f"data:image/svg+xml;base64,{content}"


def _json(name: str) -> Any:
    file = REPORTS / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
