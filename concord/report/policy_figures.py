"""Figures of policies: their fronts, the control by head weights, the cost of harmlessness.

A figure is a function from the reports to `Drawings`; `concord.report.page.SECTIONS` lists them.
The chart that a figure consists of follows it. The stage `front` writes the figure of the fronts to
an SVG file too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import combinations
from typing import TYPE_CHECKING

from concord.evaluation.policies.protocol import DEFAULT, EQUAL
from concord.report.charts import SERIES, SHAPES, Chart, Drawings, spread, standalone
from concord.report.study import curves_panel

if TYPE_CHECKING:
    from concord.report.reports import Report, Reports

COLUMNS = 3
"""Panels side by side in the figure of the fronts."""
CELL_WIDTH, CELL_HEIGHT, HEAD = 310.0, 262.0, 46.0
"""Size of a panel and height of the title of all, in pixels."""


def fronts(reports: Reports) -> Drawings:
    """A panel for each pair of objectives of a domain, with all policies; then the legend."""
    front = reports.front
    if not domains(front):
        return {}
    height = 70 + 22 * len(reports.colours) + 34
    key = (
        f'<svg class="chart" viewBox="0 0 {CELL_WIDTH:g} {height}" role="img" '
        f'aria-label="legend" style="max-width:{CELL_WIDTH:g}px">'
        f"{legend(front, reports.colours)}</svg>"
    )
    return {"": [*(panel.svg() for panel in front_charts(front)), key]}


def equal_kl(reports: Reports) -> Drawings:
    """A panel per domain: utility at the owner's weights against KL."""
    front = reports.front
    entries = {name: front[name].get("equal_kl") for name in domains(front)}
    charts = [
        curves_panel(entry["curves"], reports.colours, CELL_WIDTH, domain).svg()
        for domain, entry in entries.items()
        if entry
    ]
    return {"": charts} if charts else {}


def standalone_fronts(front: Report) -> str:
    """The figure of all fronts as an SVG file, for a README."""
    return standalone(*front_panels(front), front_title(front))


def front_panels(front: Report) -> tuple[float, float, str]:
    """Width, height and SVG elements of all panels and the legend."""
    cells = [panel.markup() for panel in front_charts(front)]
    cells.append(legend(front, policy_colours(front)))
    columns = min(COLUMNS, len(cells))
    rows = -(-len(cells) // columns)
    title = escape(front_title(front))
    body = f'<text class="title" x="18" y="28" style="font-size:15px">{title}</text>'
    for index, cell in enumerate(cells):
        x, y = 10 + CELL_WIDTH * (index % columns), HEAD + CELL_HEIGHT * (index // columns)
        body += f'<g transform="translate({x:g} {y:g})">{cell}</g>'
    return 20 + CELL_WIDTH * columns, HEAD + CELL_HEIGHT * rows + 8, body


def front_charts(front: Report) -> list[Chart]:
    """A chart for each pair of objectives of a domain."""
    colours = policy_colours(front)
    return [
        front_chart(
            front[name], pair, colours, panel_title(name, pair, len(front[name]["objectives"]))
        )
        for name in domains(front)
        for pair in combinations(front[name]["objectives"], 2)
    ]


def front_title(front: Report) -> str:
    """Title of the figure of all fronts."""
    split = " and ".join(sorted({front[name]["split"] for name in domains(front)}))
    return f"Trade-offs between objectives: means on {split} prompts (up and right is better)"


def front_chart(
    entry: Report, pair: tuple[str, str], colours: Mapping[str, int], title: str = ""
) -> Chart:
    """Two objectives of one domain: policies at equal weights with intervals, and swept points."""
    x_name, y_name = pair
    values = [(p, p["objectives"][x_name], p["objectives"][y_name]) for p in entry["points"]]
    shown = [
        bound
        for _, x, y in values
        for bound in ((x["ci_low"], y["ci_low"]), (x["ci_high"], y["ci_high"]))
    ]
    chart = Chart(
        spread([x for x, _ in shown]), spread([y for _, y in shown]), CELL_WIDTH, CELL_HEIGHT - 8,
        title=title, x_label=x_name, y_label=y_name,
    )  # fmt: skip
    for policy, colour in colours.items():
        points = [(p, (x["value"], y["value"])) for p, x, y in values if p["policy"] == policy]
        if len(points) > 2:
            best = upper_right([at for _, at in points])
            chart.curve(best, colour, "fine")
            for point, at in points:
                if point["point"] not in (EQUAL, DEFAULT):
                    chart.mark(at, colour, tip(point), 0.55, "faint")
    for point, x, y in values:
        if point["point"] == EQUAL:
            at, colour = (x["value"], y["value"]), colours[point["policy"]]
            chart.whiskers((x["ci_low"], x["ci_high"]), (y["ci_low"], y["ci_high"]), at, colour)
            chart.mark(at, colour, tip(point))
    return chart


def panel_title(domain: str, pair: tuple[str, str], objectives: int) -> str:
    """The domain, with the pair of objectives if the domain has several pairs."""
    return domain if objectives == 2 else f"{domain}: {pair[1]}, {pair[0]}"


def upper_right(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The non-dominated points of two coordinates, from left to right.

    Examples:
        >>> upper_right([(2.0, 1.0), (1.0, 2.0), (1.0, 1.0)])
        [(1.0, 2.0), (2.0, 1.0)]
    """
    kept = [p for p in points if not any(q[0] >= p[0] and q[1] >= p[1] and q != p for q in points)]
    return sorted(set(kept))


def tip(point: Report) -> str:
    """The tooltip of a point."""
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in point["weights"].items())
    means = ", ".join(f"{name} {value['value']:.3f}" for name, value in point["objectives"].items())
    kl = "" if point["kl"] is None else f"; KL {point['kl']:.2f} nats"
    return f"{point['policy']} ({point['point']}): weights {weights}; means {means}{kl}"


def legend(front: Report, colours: Mapping[str, int]) -> str:
    """Marks, names and KL at equal weights (the mean over domains), as SVG elements."""
    rows = []
    for index, (policy, colour) in enumerate(colours.items()):
        y = 58 + 22 * index
        rows.append(
            f'<path class="halo f{colour}" transform="translate(20 {y - 4}) scale(1.1)" '
            f'd="{SHAPES[colour]}"/>'
        )
        rows.append(f'<text class="strong" x="34" y="{y}">{escape(policy)}</text>')
        rows.append(
            f'<text class="small" x="226" y="{y}" text-anchor="end">{kl_text(front, policy)}</text>'
        )
    head = '<text class="title" x="14" y="16">policies at equal weights</text>'
    head += '<text class="small" x="226" y="34" text-anchor="end">KL from SFT, nats</text>'
    foot = 58 + 22 * len(colours)
    notes = [
        "Bars: 95 % intervals. Small dots: the same",
        "model at other head weights; the line is",
        "their front.",
    ]
    lines = "".join(
        f'<text class="small" x="14" y="{foot + 4 + 15 * row}">{escape(text)}</text>'
        for row, text in enumerate(notes)
    )
    return head + "".join(rows) + lines


def kl_text(front: Report, policy: str) -> str:
    """KL of the policy at equal weights, the mean over domains."""
    values = [
        point["kl"]
        for name in domains(front)
        for point in front[name]["points"]
        if point["policy"] == policy and point["point"] == EQUAL and point["kl"] is not None
    ]
    if not values:
        return "-"
    return f"{abs(sum(values) / len(values)):.2f}"  # an estimate of 0 may print as -0.00


def control(reports: Reports) -> Drawings:
    """Per steerable policy: each objective against its head weight, in the order of the domains."""
    front = reports.front
    order = [name for domain in domains(front) for name in front[domain]["objectives"]]
    return {
        policy: [
            control_chart(name, entry[name], reports.colours[policy]).svg()
            for name in order
            if name in entry
        ]
        for policy, entry in front["control"].items()
    }


def control_chart(objective: str, figures: Report, colour: int) -> Chart:
    """Mean of an objective against its head weight, with intervals."""
    weights, means = figures["weights"], figures["gold_means"]
    lows, highs = figures["gold_ci_low"], figures["gold_ci_high"]
    chart = Chart(
        (-0.02, 1.02), spread([*lows, *highs], 0.1), 240, 190,
        title=f"{objective}: {figures['rank_correlation']:.2f}", x_label="head weight", left=40,
    )  # fmt: skip
    chart.band(weights, lows, highs, colour)
    chart.curve(list(zip(weights, means, strict=True)), colour)
    for weight, mean in zip(weights, means, strict=True):
        chart.mark((weight, mean), colour, f"weight {weight:.3f}: {mean:.3f}", 0.7)
    return chart


def borderline(reports: Reports) -> Drawings:
    """Per steerable policy: what harmlessness costs on borderline questions."""
    front = reports.front
    charts = [
        borderline_chart(policy, curves).svg()
        for domain in domains(front)
        for policy, curves in front[domain]["borderline"].items()
    ]
    return {"": charts} if charts else {}


def borderline_chart(policy: str, figures: Report) -> Chart:
    """Helpfulness and harmlessness on borderline questions against the weight of harmless."""
    curves = {name: figures[name] for name in ("helpful", "harmless")}
    bounds = [
        value[key] for curve in curves.values() for value in curve for key in ("ci_low", "ci_high")
    ]
    chart = Chart(
        (-0.02, 1.02), spread(bounds, 0.1), 460, 260, title=f"{policy} on borderline questions",
        x_label="head weight of harmless (the rest shared equally)", y_label="mean",
        right=84,
    )  # fmt: skip
    for (name, curve), colour in zip(curves.items(), (1, 3), strict=True):
        means = [value["value"] for value in curve]
        chart.band(
            figures["weights"], [v["ci_low"] for v in curve], [v["ci_high"] for v in curve], colour
        )
        chart.curve(list(zip(figures["weights"], means, strict=True)), colour)
        for weight, mean in zip(figures["weights"], means, strict=True):
            chart.mark((weight, mean), colour, f"{name} {mean:.3f} at weight {weight:.3f}", 0.8)
        chart.note(
            (figures["weights"][-1], means[-1]), name, dx=12, dy=4, anchor="start", more="strong"
        )
    return chart


def domains(front: Report) -> list[str]:
    """The domains in reports/front.json."""
    return [name for name, entry in front.items() if "objectives" in entry]


def policy_colours(front: Report) -> dict[str, int]:
    """Policy -> number of its colour and mark: 0 the reference, 1 the first steerable policy."""
    policies = list(
        dict.fromkeys(point["policy"] for name in domains(front) for point in front[name]["points"])
    )
    reference = {front[name]["reference_policy"] for name in domains(front)}
    steerable = [policy for policy in policies if policy in front["control"]]
    chosen = {policy: 0 for policy in policies if policy in reference}
    chosen |= dict.fromkeys(steerable[:1], 1)
    others = [policy for policy in policies if policy not in chosen]
    return chosen | {policy: 2 + index % (SERIES - 2) for index, policy in enumerate(others)}
