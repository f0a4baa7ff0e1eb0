"""The report page: one HTML file that loads nothing else, rendered from the files below reports/.

To add a figure, write its data to a report where it is measured, draw it with one function in
`policy_figures`, `watch`, `reward_figures` or `training_figures`, and add one line to `SECTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from concord.evaluation.gates.verdict import RESULTS, means_of
from concord.evaluation.policies.published import Published
from concord.evaluation.rewards.picking import GAINS, WAYS
from concord.evaluation.study.result import BANDS
from concord.report import claims, policy_figures, reward_figures, training_figures, watch
from concord.report.charts import DARK, LIGHT, SHAPES, STYLE, Drawings, variables
from concord.report.check_table import check_rows
from concord.report.example_answers import Effect, three_weights
from concord.report.reports import POINTS, UNITS, Report, Reports
from concord.report.result_chart import Side, result_chart
from concord.stage import outputs
from concord.stage.paths import REPORTS

BASELINES = {
    "tf_idf": "TF-IDF",
    "author": "author only",
    "unseen authors": "TF-IDF, unseen authors",
}
"""Baseline of a reward head -> the head of its column."""


@dataclass(frozen=True)
class Section:
    """One or more figures under a heading."""

    slot: str
    """Where the template shows it: `figures('<slot>')` in page.html.jinja."""
    title: str
    """Heading; empty directly below the heading of the page's part."""
    intro: str
    """Caption below the heading; may be empty."""
    draw: Callable[[Reports], Drawings]
    """Subheading -> SVG elements. Without any, the section is left out."""
    layout: Literal["wide", "tiles", "three"] = "tiles"
    """One below the other; small charts side by side; or medium ones."""


SECTIONS = (
    Section("fronts", "", "", policy_figures.fronts, "three"),
    Section(
        "fronts",
        "Utility at equal KL",
        "Utility at the owner's weights against KL from SFT, between SFT and each policy as it was "
        "trained (the mark). The band is the 95 % interval of the policy with heads.",
        policy_figures.equal_kl,
        "three",
    ),
    Section("control", "", "", policy_figures.control),
    Section(
        "control",
        "Cost of harmlessness on borderline questions",
        "Borderline questions look hazardous but are not.",
        policy_figures.borderline,
        "three",
    ),
    Section("hacking", "", "", watch.proxy_and_gold),
    Section("rewards", "", "", reward_figures.head_quality, "wide"),
    Section(
        "calibration",
        "",
        "Accuracy by predicted probability. A calibrated head lies on the thin diagonal.",
        reward_figures.reliability,
    ),
    Section(
        "picking", "Picking an answer by a reward model", "", reward_figures.head_picking, "wide"
    ),
    Section(
        "process",
        "Picking an answer by the process reward model",
        "",
        reward_figures.process_picking,
        "wide",
    ),
    Section("training", "", "Loss per step, and smoothed.", training_figures.learning_curves),
    Section(
        "training",
        "Conflict between gradients",
        "The cosine between the gradients of two objectives on the parameters that all share, as "
        "the mean over the measured steps. Below 0, a step for one objective harms the other.",
        training_figures.gradient_conflict,
        "wide",
    ),
    Section(
        "data",
        "Conflict between objectives",
        "Of the pairs that were judged on both objectives, the share with opposite preferences.",
        training_figures.conflict,
        "wide",
    ),
)
"""The figures of the page, in their order within each slot."""


def render(params: Report, root: Path = REPORTS) -> str:
    """The page as HTML, from params.yaml and everything below `root`."""
    environment = Environment(
        loader=PackageLoader("concord.report", "."),
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
    environment.globals |= {"ways_of_picking": WAYS, "gains_of_picking": gains}
    return environment.get_template("page.html.jinja").render(context(Reports(params, root)))


def context(reports: Reports) -> dict[str, Any]:
    """The variables of the template."""
    front, policy, policies = reports.front, reports.choice["policy"], reports.policies
    published = Published(reports.params, reports.root.parent)
    dark = f"@media(prefers-color-scheme:dark){{:root{{{variables(DARK)}}}}}"
    return {
        "gains": published.gains(),
        "comparison": published.comparison(),
        "result": result(published, reports.colours),
        "claims": claims.claims(
            front,
            policy,
            {"policies": policies, "rewards": reports.heads, "process": reports.process},
        ),
        "sections": drawn(reports),
        "policy": policy,
        "policies": policies,
        "measure": policies[policy].get("measure", "gold mean"),
        "common": {"policies": UNITS[reports.protocol], "points": POINTS[reports.protocol]},
        "domains": claims.entries(front),
        "equal_kl": {
            domain: entry["equal_kl"]
            for domain, entry in claims.entries(front).items()
            if entry["equal_kl"]
        },
        "kl_bands": [f"{kl:g}" for kl in BANDS],
        "colours": reports.colours,
        "shapes": SHAPES,
        "differences": differences(front),
        "hacking": reports.hacking,
        "standard": reports.standard,
        "truth": "gold" if reports.protocol == "sandbox" else "people's labels",
        "verdict": watch.verdict(reports.hacking),
        "flags": watch.flags(reports.hacking, reports.standard),
        "examples": examples(reports.root, policy, front),
        "checks": check_rows(reports),
        "heads": reports.heads,
        "baselines": shown_baselines(reports.heads),
        "sharing": sharing(reports.heads),
        "process": reports.process,
        "labelling": reports.labelling,
        "data": reports.data,
        "choice": reports.choice,
        "candidate": reports.json("candidate/results"),
        "gate": (gate := reports.json("gate")),
        "gate_means": means_of(gate),
        "gate_results": RESULTS,
        "style": Markup(f":root{{{variables(LIGHT)}}}{dark}"),
        "chart_style": Markup(STYLE.replace("text{", ":where(.chart) text{", 1)),
    }


def drawn(reports: Reports) -> dict[str, list[dict[str, Any]]]:
    """Slot -> its sections with their drawings, as markup."""
    slots: dict[str, list[dict[str, Any]]] = {section.slot: [] for section in SECTIONS}
    for section in SECTIONS:
        drawings = section.draw(reports)
        groups = {name: [Markup(svg) for svg in svgs] for name, svgs in drawings.items()}
        if groups:
            slots[section.slot].append({"section": section, "groups": groups})
    return slots


def breakable(name: str) -> Markup:
    """A name that may break after its underscores.

    Examples:
        >>> breakable("math_accuracy")
        Markup('math_<wbr>accuracy')
    """
    return Markup("_<wbr>").join(name.split("_"))


def number(value: float | None, digits: int = 3) -> str:
    """A number as in the tables; a dash if it is missing.

    Examples:
        >>> number(0.25), number(None)
        ('0.250', '-')
    """
    return "-" if value is None else f"{value:.{digits}f}"


def percent(share: float | None, digits: int) -> str:
    """A share in per cent; a dash if it is missing.

    Examples:
        >>> percent(0.125, 1)
        '12.5 %'
    """
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def result(published: Published, colours: Mapping[str, int]) -> Markup:
    """What the candidate gained and lost over the SFT model; empty if nothing was judged."""
    if not published.rows:
        return Markup("")
    candidate = "published model" if published.gate["accepted"] else "refused candidate"
    rival = published.rival
    chart = result_chart(
        published.rows,
        Side("SFT model", colours.get(published.reference, 0)),
        Side(candidate, colours.get(published.policy, 1)),
        Side(f"{rival}, not steerable", colours.get(rival, 2)) if rival else None,
    )
    return Markup(chart)


def shown_baselines(heads: Sequence[Report]) -> dict[str, str]:
    """The baselines that at least one head has, with the heads of their columns."""
    return {
        name: label
        for name, label in BASELINES.items()
        if any(head["baselines"][name] for head in heads)
    }


def differences(front: Report) -> dict[str, dict[str, Any]]:
    """Policy -> objective -> paired difference to the reference at equal weights."""
    by_policy: dict[str, dict[str, Any]] = {}
    for entry in claims.entries(front).values():
        for policy, values in entry["differences"].items():
            by_policy.setdefault(policy, {}).update(values)
    return by_policy


def examples(root: Path, policy: str, front: Report) -> dict[str, Any]:
    """Domain -> prompts with answers at three weights, if the domain has such answers.

    They are the prompt with the largest effect of the weights, and the one with the median effect.
    """
    samples = outputs.read_table(root / f"samples/{policy}.parquet")
    samples = samples[samples["split"] != "validation"]
    by_domain = {}
    for domain, entry in claims.entries(front).items():
        rows = samples[samples["domain"] == domain]
        shown = [three_weights(rows, entry["objectives"], effect) for effect in get_args(Effect)]
        by_domain[domain] = [example for example in shown if example]
    return {domain: examples for domain, examples in by_domain.items() if examples}


def sharing(heads: Sequence[Report]) -> list[dict[str, Any]]:
    """Comparison of one backbone with several heads and single-head models of the same objectives.

    A group is left out unless every objective has a single-head model and a pair accuracy.
    """
    groups: dict[str, list[Report]] = {}
    for head in heads:
        groups.setdefault(head["group"], []).append(head)
    single = {rows[0]["objective"]: rows[0] for rows in groups.values() if len(rows) == 1}
    comparisons = []
    for group, rows in groups.items():
        separate = [single[row["objective"]] for row in rows if row["objective"] in single]
        known = all(row["pair_accuracy"] is not None for row in [*rows, *separate])
        if len(rows) > 1 and len(separate) == len(rows) and known:
            comparisons.append(
                {
                    "group": group,
                    "shared": _cost(rows, shared=True),
                    "separate": _cost(separate, shared=False),
                }
            )
    return comparisons


def _cost(rows: Sequence[Report], shared: bool) -> dict[str, float]:
    """Mean accuracy and cost of training: sums of time and size over models, maximum of memory."""
    models: Sequence[Mapping[str, Any]] = rows[:1] if shared else rows
    return {
        "pair_accuracy": sum(row["pair_accuracy"] for row in rows) / len(rows),
        "seconds": sum(model["seconds"] for model in models),
        "peak_mb": max(model["peak_mb"] for model in models),
        "parameters": sum(model["parameters"] for model in models),
    }
