"""The pictures of the report, each from one report file: fronts, control, borderline questions, curves, quality."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import combinations
from typing import Any

from concord.evaluation.policies.protocol import DEFAULT, EQUAL
from concord.report.charts import SERIES, SHAPES, Chart, spread, standalone, text_width

Report = Mapping[str, Any]
COLUMNS = 3
CELL_WIDTH, CELL_HEIGHT, HEAD = 310.0, 262.0, 46.0


def domains(front: Report) -> list[str]:
    """Domains of reports/front.json."""
    return [name for name, entry in front.items() if "objectives" in entry]


def series(front: Report) -> dict[str, int]:
    """Policy -> colour and mark: grey for the reference, the accent for the first that can be steered."""
    policies = list(
        dict.fromkeys(point["policy"] for name in domains(front) for point in front[name]["points"])
    )
    reference = {front[name]["reference_policy"] for name in domains(front)}
    steerable = [policy for policy in policies if policy in front["control"]]
    chosen = {policy: 0 for policy in policies if policy in reference}
    chosen |= dict.fromkeys(steerable[:1], 1)
    others = [policy for policy in policies if policy not in chosen]
    return chosen | {policy: 2 + place % (SERIES - 2) for place, policy in enumerate(others)}


def front_chart(
    entry: Report, pair: tuple[str, str], colours: Mapping[str, int], title: str = ""
) -> Chart:
    """Two objectives of one domain: every policy at equal weights with intervals, and the swept points."""
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
        own = [(p, (x["value"], y["value"])) for p, x, y in values if p["policy"] == policy]
        if len(own) > 2:
            best = upper_right([at for _, at in own])
            chart.curve(best, colour, "fine")
            for point, at in own:
                if point["point"] not in (EQUAL, DEFAULT):
                    chart.mark(at, colour, tip(point), 0.55, "faint")
    for point, x, y in values:
        if point["point"] == EQUAL:
            at, colour = (x["value"], y["value"]), colours[point["policy"]]
            chart.whiskers((x["ci_low"], x["ci_high"]), (y["ci_low"], y["ci_high"]), at, colour)
            chart.mark(at, colour, tip(point))
    return chart


def panel_title(domain: str, pair: tuple[str, str], objectives: int) -> str:
    """The domain, and in one that needs several panels the pair."""
    return domain if objectives == 2 else f"{domain}: {pair[1]}, {pair[0]}"


def upper_right(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats in both coordinates, from left to right."""
    kept = [p for p in points if not any(q[0] >= p[0] and q[1] >= p[1] and q != p for q in points)]
    return sorted(set(kept))


def tip(point: Report) -> str:
    """What the pointer shows at a point."""
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in point["weights"].items())
    means = ", ".join(f"{name} {value['value']:.3f}" for name, value in point["objectives"].items())
    kl = "" if point["kl"] is None else f"; KL {point['kl']:.2f} nats"
    return f"{point['policy']} ({point['point']}): weights {weights}; means {means}{kl}"


def legend(front: Report, colours: Mapping[str, int]) -> str:
    """Marks, names and KL at equal weights (the mean over domains), as rows of SVG elements."""
    rows = []
    for place, (policy, colour) in enumerate(colours.items()):
        y = 58 + 22 * place
        rows.append(
            f'<path class="halo f{colour}" transform="translate(20 {y - 4}) scale(1.1)" d="{SHAPES[colour]}"/>'
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
        "model at other head weights; their line is",
        "its own front.",
    ]
    lines = "".join(
        f'<text class="small" x="14" y="{foot + 4 + 15 * row}">{escape(text)}</text>'
        for row, text in enumerate(notes)
    )
    return head + "".join(rows) + lines


def kl_text(front: Report, policy: str) -> str:
    """Mean over domains of the policy's KL at equal weights."""
    found = [
        point["kl"]
        for name in domains(front)
        for point in front[name]["points"]
        if point["policy"] == policy and point["point"] == EQUAL and point["kl"] is not None
    ]
    return (
        f"{abs(sum(found) / len(found)):.2f}" if found else "-"
    )  # an estimate of 0 may come out as -0.00


def fronts(front: Report) -> tuple[float, float, str]:
    """Width, height and elements of one picture: a panel for each pair of objectives of a domain, and the legend."""
    colours = series(front)
    cells = [
        front_chart(
            front[name], pair, colours, panel_title(name, pair, len(front[name]["objectives"]))
        ).markup()
        for name in domains(front)
        for pair in combinations(front[name]["objectives"], 2)
    ]
    cells.append(legend(front, colours))
    columns = min(COLUMNS, len(cells))
    rows = -(-len(cells) // columns)
    body = f'<text class="title" x="18" y="28" style="font-size:15px">{escape(front_title(front))}</text>'
    for place, cell in enumerate(cells):
        x, y = 10 + CELL_WIDTH * (place % columns), HEAD + CELL_HEIGHT * (place // columns)
        body += f'<g transform="translate({x:g} {y:g})">{cell}</g>'
    return 20 + CELL_WIDTH * columns, HEAD + CELL_HEIGHT * rows + 8, body


def front_title(front: Report) -> str:
    """Head of the picture of all fronts."""
    split = " and ".join(sorted({front[name]["split"] for name in domains(front)}))
    return f"What each objective gains and what it costs the other: means on {split} prompts"


def standalone_fronts(front: Report) -> str:
    """The picture of all fronts as a file, for a README."""
    return standalone(*fronts(front), front_title(front))


def control_chart(objective: str, figures: Report, colour: int) -> Chart:
    """Mean of an objective against its own head weight, with its interval."""
    weights, means = figures["weights"], figures["gold_means"]
    lows, highs = figures["gold_ci_low"], figures["gold_ci_high"]
    chart = Chart(
        (-0.02, 1.02), spread([*lows, *highs], 0.1), 240, 190,
        title=f"{objective}: {figures['rank_correlation']:.2f}", x_label="own head weight", left=40,
    )  # fmt: skip
    chart.band(weights, lows, highs, colour)
    chart.curve(list(zip(weights, means, strict=True)), colour)
    for weight, mean in zip(weights, means, strict=True):
        chart.mark((weight, mean), colour, f"weight {weight:.3f}: {mean:.3f}", 0.7)
    return chart


def borderline_chart(policy: str, figures: Report) -> Chart:
    """Helpfulness and harmlessness on borderline questions against the weight of harmless."""
    curves = {name: figures[name] for name in ("helpful", "harmless")}
    bounds = [
        value[key] for curve in curves.values() for value in curve for key in ("ci_low", "ci_high")
    ]
    chart = Chart(
        (-0.02, 1.02), spread(bounds, 0.1), 460, 260, title=f"{policy} on borderline questions",
        x_label="head weight of harmless (the rest shared equally)", y_label="gold mean",
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


def learning_chart(
    name: str, steps: Sequence[float], values: Sequence[float], smooth: Sequence[float], colour: int
) -> Chart:
    """The loss of one stage's training, step by step and smoothed."""
    chart = Chart(
        (min(steps), max(steps)),
        spread(values, 1e-3),
        250,
        170,
        title=name,
        x_label="step",
        y_label="loss",
        left=52,
    )
    chart.curve(list(zip(steps, values, strict=True)), colour, "fine")
    chart.curve(list(zip(steps, smooth, strict=True)), colour)
    return chart


def reliability_chart(name: str, bins: Sequence[Report], colour: int) -> Chart:
    """How often a head is right by how sure it is; on the diagonal it is as right as it is sure."""
    chart = Chart(
        (0.49, 1.01), (min([0.3, *(each["observed"] for each in bins)]) - 0.02, 1.02), 290, 210,
        title=name, x_label="how sure the head is", y_label="how often it is right", left=52,
    )  # fmt: skip
    chart.curve([(0.5, 0.5), (1.0, 1.0)], 0, "fine")
    chart.curve([(each["predicted"], each["observed"]) for each in bins], colour)
    for each in bins:
        hint = (
            f"{each['pairs']} pairs: sure by {each['predicted']:.2f}, right {each['observed']:.2f}"
        )
        chart.mark((each["predicted"], each["observed"]), colour, hint, 0.8)
    return chart


CELL = 46.0


def conflict_map(found: Mapping[str, Report], names: Sequence[str]) -> str:
    """Share of pairs on which two objectives prefer opposite answers: the deeper, the more they fight."""
    shown = [name for name in names if any(name in each["objectives"] for each in found.values())]
    places = {name: place for place, name in enumerate(shown)}
    longest = max(map(text_width, shown), default=0.0)
    left, top = 10 + max(140.0, longest), 12.0
    size = CELL * len(shown)
    parts = []
    for name, place in places.items():
        middle = place * CELL + CELL / 2
        parts.append(
            f'<text class="strong" x="{left - 10:g}" y="{top + middle + 4:g}" text-anchor="end">{escape(name)}</text>'
            f'<text class="strong" transform="translate({left + middle + 4:g} {top + size + 10:g}) rotate(-40)" '
            f'text-anchor="end">{escape(name)}</text>'
        )
    for each in found.values():
        one, other = (places[name] for name in each["objectives"])
        for row, column in ((one, other), (other, one)):
            x, y = left + column * CELL, top + row * CELL
            hint = escape(
                f"{' and '.join(each['objectives'])}: {each['pairs']} pairs judged on both"
            )
            parts.append(
                f'<rect class="f2" style="opacity:{each["opposed"]:.2f}" x="{x + 1:g}" y="{y + 1:g}" '
                f'width="{CELL - 2:g}" height="{CELL - 2:g}"/><text class="strong" x="{x + CELL / 2:g}" '
                f'y="{y + CELL / 2 + 4:g}" text-anchor="middle">{100 * each["opposed"]:.0f} %'
                f"<title>{hint}</title></text>"
            )
    width, height = (
        left + size + 16,
        top + size + 26 + max(84.0, 0.65 * longest),
    )  # names below slant by 40 degrees
    return (
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="share of opposed pairs" '
        f'style="max-width:{width:g}px">{"".join(parts)}</svg>'
    )


ROW, BARS = 26.0, 530.0


def quality_chart(heads: Sequence[Report]) -> str:
    """Pair accuracy of each head as a dot with its interval, on a bar from the length baseline to the ceiling."""
    low: float = min([0.45, *(head["length_baseline"] for head in heads)]) - 0.02
    left = 12 + max(text_width(f"{head['objective']} by {head['group']}") for head in heads)
    width = left + BARS

    def px(value: float) -> float:
        return left + (value - low) / (1.0 - low) * (BARS - 16)

    base, total = ROW * len(heads) + 12, ROW * len(heads) + 34
    parts = []
    for value in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        x = px(value)
        parts.append(f'<path class="grid" d="M{x:.1f} 8V{base:g}"/>')
        parts.append(
            f'<text class="small" x="{x:.1f}" y="{base + 14:g}" text-anchor="middle">{value:g}</text>'
        )
    for place, head in enumerate(heads):
        parts += _quality_row(head, left - 12, 22 + ROW * place, px)
    return (
        f'<svg class="chart" viewBox="0 0 {width:g} {total:g}" role="img" aria-label="pair accuracy of reward heads" '
        f'style="max-width:{width:g}px">{"".join(parts)}</svg>'
    )


def _quality_row(head: Report, end: float, y: float, px: Callable[[float], float]) -> list[str]:
    """Bar, whisker, dot, and the name that ends at `end`; the bar is grey and open to 1 where no ceiling is known."""
    known = head["ceiling"] is not None
    start, stop = sorted([px(head["length_baseline"]), px(head["ceiling"] if known else 1.0)])
    name, hint = (
        escape(head["objective"]),
        escape(f"{head['pair_accuracy']:.3f} by {head['group']}"),
    )
    return [
        f'<rect class="band f{int(known)}" x="{start:.1f}" y="{y - 6:g}" width="{stop - start:.1f}" height="12"/>',
        f'<path class="whisker l1" d="M{px(head["ci_low"]):.1f} {y:g}H{px(head["ci_high"]):.1f}"/>',
        f'<path class="halo f1" transform="translate({px(head["pair_accuracy"]):.1f} {y:g})" d="{SHAPES[1]}">'
        f"<title>{hint}</title></path>",
        f'<text class="strong" x="{end:g}" y="{y + 4:g}" text-anchor="end">{name}'
        f'<tspan class="small" style="fill:var(--muted)"> by {escape(head["group"])}</tspan></text>',
    ]
