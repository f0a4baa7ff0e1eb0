"""The result of a study as a figure and as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from concord.evaluation.study.regret import BEST
from concord.report.charts import SERIES, SHAPES, Chart, spread, standalone, text_width

WIDTH, HEIGHT, HEAD = 270.0, 230.0, 66.0
"""Least width of a panel, its height, and the height of title and legend, in pixels."""
STEERED = 1
"""Colour of the steered policy."""


def figure(figures: Mapping[str, Any]) -> str:
    """An SVG file: utility against KL of every policy. A row per domain, a panel per weights."""
    cells = figures["regret"][BEST]["cells"]
    policies = list(dict.fromkeys(curve["policy"] for curve in figures["curves"]))
    colours = {
        name: STEERED if name == figures["recipe"]["steered"] else 2 + index % (SERIES - 2)
        for index, name in enumerate(policies)
    }
    width = max(WIDTH, *(60 + text_width(weights_text(cell["weights"])) for cell in cells))
    rows = [
        [panel(cell, figures, colours, width) for cell in cells if cell["domain"] == domain]
        for domain in figures["regret"][BEST]["domains"]
    ]
    world = figures["recipe"]["world"]
    title = f"Utility against KL from SFT ({f'{world} world' if world else 'labelled answers'})"
    body = f'<text class="title" x="18" y="28" style="font-size:15px">{escape(title)}</text>'
    body += _legend(colours)
    for row, charts in enumerate(rows):
        for column, chart in enumerate(charts):
            x, y = 10 + width * column, HEAD + HEIGHT * row
            body += f'<g transform="translate({x:g} {y:g})">{chart.markup()}</g>'
    total = 20 + width * max(len(charts) for charts in rows)
    return standalone(total, HEAD + HEIGHT * len(rows) + 8, body, title)


def panel(
    cell: Mapping[str, Any], figures: Mapping[str, Any], colours: Mapping[str, int], width: float
) -> Chart:
    """Utility against KL at one weight vector; the marks are the policies as they were trained.

    The band is the interval of the steered policy.
    """
    here = cell["domain"], cell["line"]
    shown = [curve for curve in figures["curves"] if (curve["domain"], curve["line"]) == here]
    return curves_panel(shown, colours, width, weights_text(cell["weights"]), cell["domain"])


def curves_panel(
    shown: Sequence[Mapping[str, Any]],
    colours: Mapping[str, int],
    width: float,
    title: str,
    y_label: str = "",
) -> Chart:
    """Utility against KL of several policies; the steered one has a band."""
    bands = [curve for curve in shown if colours[curve["policy"]] == STEERED]
    heights = [y for c in shown for y in c["utility"]]
    heights += [y for c in bands for y in (*c["ci_low"], *c["ci_high"])]
    chart = Chart(
        (0.0, 1.05 * max(curve["kl"][-1] for curve in shown)),
        spread(heights, 0.1),
        width - 8, HEIGHT - 8, title=title, x_label="KL, nats", y_label=y_label,
    )  # fmt: skip
    for curve in sorted(shown, key=lambda curve: colours[curve["policy"]] == STEERED):
        colour = colours[curve["policy"]]
        steered = colour == STEERED
        if steered:
            chart.band(curve["kl"], curve["ci_low"], curve["ci_high"], colour)
        points = list(zip(curve["kl"], curve["utility"], strict=True))
        chart.curve(points, colour, "" if steered else "fine")
        tip = f"{curve['policy']}: {points[-1][1]:.3f} at KL {points[-1][0]:.2f}"
        chart.mark(points[-1], colour, tip, 0.8)
    return chart


def _legend(colours: Mapping[str, int]) -> str:
    marks, x = [], 24.0
    for name, colour in colours.items():
        marks.append(
            f'<path class="halo f{colour}" transform="translate({x:g} 48)" d="{SHAPES[colour]}"/>'
            f'<text class="strong" x="{x + 12:g}" y="52">{escape(name)}</text>'
        )
        x += 36 + 8 * len(name)
    return "".join(marks)


def weights_text(weights: Mapping[str, float]) -> str:
    """Weights in a few characters.

    Examples:
        >>> weights_text({"helpful": 0.5, "harmless": 0.5, "honest": 0.0})
        'helpful .5, harmless .5'
    """
    parts = [
        f"{name} {weight:.2f}".replace(" 0.", " .").rstrip("0").rstrip(".")
        for name, weight in weights.items()
        if weight
    ]
    return ", ".join(parts)


def text(figures: Mapping[str, Any]) -> str:
    """The result as Markdown: regret per weight vector, tests, control, and costs."""
    recipe, regret = figures["recipe"], figures["regret"]
    lines = [
        f"Steered: `{recipe['steered']}`. {_questions(recipe)}, "
        f"{len(recipe['seeds'])} training seeds. "
        "Regret: utility of the rival less that of the steered policy, at the smaller KL of the "
        "two; negative is good. Intervals: 95 %, seeds and prompts resampled together.",
        "",
        *_table(["domain", "weights", *(f"`{name}`" for name in regret)], _regret_rows(regret)),
        "",
        *_table(
            ["rival", "p", "p (Holm)", "steered better", "no difference", "rival better"],
            [
                [
                    f"`{name}`",
                    f"{test['p']:.3f}",
                    f"{test['p_holm']:.3f}",
                    str(regret[name]["steered_better"]),
                    str(
                        len(regret[name]["cells"])
                        - regret[name]["steered_better"]
                        - regret[name]["rival_better"]
                    ),
                    str(regret[name]["rival_better"]),
                ]
                for name, test in figures["tests"].items()
            ],
        ),
        "",
        *_control(figures["control"], recipe["steered"]),
        "",
        *_table(
            ["policy", "trainings per seed", "CPU seconds per seed"],
            [
                [f"`{name}`", str(entry["trainings"]), f"{entry['cpu_seconds']:.0f}"]
                for name, entry in figures["costs"].items()
            ],
        ),
    ]
    return "\n".join(lines) + "\n"


def _questions(recipe: Mapping[str, Any]) -> str:
    """What was asked."""
    count = recipe["prompts"]
    if recipe["protocol"] == "likelihood":
        return f"Labelled answers of the test split, at most {count} groups of prompts per domain"
    return f"World `{recipe['world']}`, seed {recipe['world_seed']}, {count} prompts per domain"


def _control(control: Mapping[str, Any], steered: str) -> list[str]:
    """A row per objective: how well its weight orders its mean, and ranges beside the rivals'."""
    objectives = {name: entry for entries in control.values() for name, entry in entries.items()}
    rivals = list(dict.fromkeys(r for entry in objectives.values() for r in entry["shares"]))
    head = ["objective", "Kendall's tau with its weight", f"range of `{steered}`"]
    head += [f"share of the range of `{rival}`" for rival in rivals]
    rows = [
        [
            name,
            f"{entry['kendall_tau']:.2f}",
            _bounds(entry["ranges"][steered], "range"),
            *(
                _bounds(entry["shares"][rival], "share") if rival in entry["shares"] else "-"
                for rival in rivals
            ),
        ]
        for name, entry in objectives.items()
    ]
    return _table(head, rows)


def _bounds(entry: Mapping[str, float], name: str) -> str:
    return f"{entry[name]:.3f} [{entry['ci_low']:.3f}, {entry['ci_high']:.3f}]"


def _regret_rows(regret: Mapping[str, Any]) -> list[list[str]]:
    """A row per weight vector and a mean per domain, one domain after the other."""
    rows = []
    for domain in regret[BEST]["domains"]:
        rows += [
            [
                domain,
                weights_text(cell["weights"]),
                *(_regret(entry["cells"][index]) for entry in regret.values()),
            ]
            for index, cell in enumerate(regret[BEST]["cells"])
            if cell["domain"] == domain
        ]
        means = [_regret(entry["domains"][domain]) for entry in regret.values()]
        rows.append([domain, "mean", *means])
    return [*rows, ["all", "mean", *(_regret(entry["overall"]) for entry in regret.values())]]


def _regret(entry: Mapping[str, float]) -> str:
    return f"{entry['regret']:+.3f} [{entry['ci_low']:+.3f}, {entry['ci_high']:+.3f}]"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
