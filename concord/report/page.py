"""The report page: reads what is under reports/, draws it, and renders one HTML file that loads nothing else."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from concord.evaluation.rewards.picking import GAINS, WAYS
from concord.report import claims
from concord.report import figures as pictures
from concord.report.charts import DARK, LIGHT, STYLE, variables
from concord.report.example_answers import three_weights
from concord.report.picking_chart import picking_chart
from concord.stage import outputs
from concord.stage.paths import REPORTS

Report = Mapping[str, Any]


def render(params: Report, root: Path = REPORTS) -> str:
    """The page, from params.yaml and everything under `root`."""
    environment = Environment(
        loader=PackageLoader("tasks.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "figure": claims.shown,
        "bounds": claims.bounds,
        "whole": lambda n: f"{n:,}",
        "breakable": breakable,
    }
    gains = {f"gain_of_{way}_over_{rival}": label for (way, rival), label in GAINS.items()}
    environment.globals |= {"number": number, "percent": percent}
    environment.globals |= {"picking": picking, "ways_of_picking": WAYS, "gains_of_picking": gains}
    return environment.get_template("report.html.jinja").render(context(params, root))


def context(params: Report, root: Path) -> dict[str, Any]:
    """Everything that the template shows."""
    front, choice = outputs.read_json(root / "front.json"), outputs.read_json(root / "select.json")
    policies = {
        name: outputs.read_json(root / f"policies/{name}.json") for name in params["policies"]
    }
    heads = reward_heads(params, root)
    paired = [head for head in heads if head["pair_accuracy"] is not None]
    process, data = (
        outputs.read_json(root / "process_reward.json"),
        outputs.read_json(root / "data.json"),
    )
    policy, colours = choice["policy"], pictures.series(front)
    found = {"policies": policies, "rewards": heads, "process": process}
    return {
        "sentence": claims.sentence(front, policy, policies[policy]),
        "claims": claims.claims(front, policy, found),
        "policy": policy,
        "policies": policies,
        "measure": policies[policy].get("measure", "gold mean"),
        "front": front,
        "domains": claims.entries(front),
        "colours": colours,
        "fronts": _svg(*pictures.fronts(front), pictures.front_title(front)),
        "differences": differences(front),
        "control": control_charts(front, colours),
        "borderline": [
            Markup(pictures.borderline_chart(name, curve).svg())
            for entry in claims.entries(front).values()
            for name, curve in entry["borderline"].items()
        ],
        "examples": examples(root, policy, front),
        "heads": heads,
        "head_chart": Markup(pictures.quality_chart(paired)) if paired else "",
        "reliability": [
            Markup(
                pictures.reliability_chart(
                    f"{h['objective']} by {h['group']}", h["calibration"]["reliability"], 1
                ).svg()
            )
            for h in paired
        ],
        "sharing": sharing(heads),
        "process": process,
        "labelling": outputs.read_json(root / "process_labels.json"),
        "curves": learning_curves(root / "curves", colours),
        "data": data,
        "conflict": Markup(pictures.conflict_map(data["conflict"], list(params["objectives"]))),
        "choice": choice,
        "gate": outputs.read_json(root / "gate.json"),
        "style": Markup(
            f":root{{{variables(LIGHT)}}}@media(prefers-color-scheme:dark){{:root{{{variables(DARK)}}}}}"
        ),
        "chart_style": Markup(STYLE.replace("text{", ":where(.chart) text{", 1)),
    }


def _svg(width: float, height: float, body: str, title: str) -> Markup:
    return Markup(
        '<svg class="chart" viewBox="0 0 {:g} {:g}" role="img" aria-label="{}">{}</svg>'
    ).format(width, height, title, Markup(body))


def picking(name: str, found: Report) -> Markup:
    """The picture of ways of picking an answer."""
    return Markup(picking_chart(name, found).svg())


def breakable(name: str) -> Markup:
    """A name that may break after its underscores."""
    return Markup("_<wbr>").join(name.split("_"))


def number(value: float | None, digits: int = 3) -> str:
    """A number as the tables show it; a missing one is a dash."""
    return "-" if value is None else f"{value:.{digits}f}"


def percent(share: float | None, digits: int) -> str:
    """A share in per cent; a missing one is a dash."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def differences(front: Report) -> dict[str, dict[str, Any]]:
    """Policy -> objective -> paired difference to the reference at equal weights, over all domains."""
    found: dict[str, dict[str, Any]] = {}
    for entry in claims.entries(front).values():
        for policy, figures in entry["differences"].items():
            found.setdefault(policy, {}).update(figures)
    return found


def control_charts(front: Report, colours: Mapping[str, int]) -> dict[str, list[Markup]]:
    """Policy -> a chart for each objective, in the order of the domains."""
    order = [name for entry in claims.entries(front).values() for name in entry["objectives"]]
    return {
        policy: [
            Markup(pictures.control_chart(name, figures[name], colours[policy]).svg())
            for name in order
            if name in figures
        ]
        for policy, figures in front["control"].items()
    }


def examples(root: Path, policy: str, front: Report) -> dict[str, Any]:
    """Domain -> one prompt under three weights, for domains that were answered at three."""
    samples = outputs.read_table(root / f"samples/{policy}.parquet")
    samples = samples[samples["split"] != "validation"]
    found = {
        domain: three_weights(samples[samples["domain"] == domain], entry["objectives"])
        for domain, entry in claims.entries(front).items()
    }
    return {domain: example for domain, example in found.items() if example}


def reward_heads(params: Report, root: Path) -> list[dict[str, Any]]:
    """Every head of every reward model; `used` where the reward vector scores the objective by it."""
    rows = []
    for group in params["reward_models"]:
        for name, figures in outputs.read_json(root / f"rewards/{group}.json").items():
            objective = params["objectives"].get(name, {})
            used = objective.get("reward") == group and objective.get("in_vector", True)
            rows.append({"group": group, "objective": name, "used": used, **figures})
    return sorted(
        rows, key=lambda row: row["objective"]
    )  # stable: models of one objective side by side


def sharing(heads: Sequence[Report]) -> list[dict[str, Any]]:
    """One backbone with several heads beside the models of one head each for the same objectives, if all are there."""
    groups: dict[str, list[Report]] = {}
    for head in heads:
        groups.setdefault(head["group"], []).append(head)
    single = {rows[0]["objective"]: rows[0] for rows in groups.values() if len(rows) == 1}
    found = []
    for group, rows in groups.items():
        apart = [single[row["objective"]] for row in rows if row["objective"] in single]
        known = all(row["pair_accuracy"] is not None for row in [*rows, *apart])
        if len(rows) > 1 and len(apart) == len(rows) and known:
            found.append(
                {
                    "group": group,
                    "together": _cost(rows, shared=True),
                    "apart": _cost(apart, shared=False),
                }
            )
    return found


def _cost(rows: Sequence[Report], shared: bool) -> dict[str, float]:
    """Mean accuracy, and what the fit took: the models of one head add up in time and size, memory is the largest."""
    models = rows[:1] if shared else rows
    return {
        "pair_accuracy": sum(row["pair_accuracy"] for row in rows) / len(rows),
        "seconds": sum(model["seconds"] for model in models),
        "peak_mb": max(model["peak_mb"] for model in models),
        "parameters": sum(model["parameters"] for model in models),
    }


def learning_curves(folder: Path, colours: Mapping[str, int]) -> list[Markup]:
    """A chart of the loss of every stage that trained, policies in their colours; a fit without steps has none."""
    charts = []
    for file in sorted(folder.glob("*.csv")):
        with file.open(encoding="utf-8") as lines:
            rows = [row for row in csv.DictReader(lines) if row.get("loss")]
        if len(rows) < 2:
            continue
        steps, losses = ([float(row[name]) for row in rows] for name in ("step", "loss"))
        smooth = pd.Series(losses).ewm(span=max(1, len(losses) / 10)).mean().tolist()
        chart = pictures.learning_chart(
            file.stem, steps, losses, smooth, colours.get(file.stem.removeprefix("policy_"), 0)
        )
        charts.append(Markup(chart.svg()))
    return charts
