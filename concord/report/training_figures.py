"""Figures of training: loss curves, and the conflict between objectives in data and gradients.

A figure is a function from the reports to `Drawings`; `concord.report.page.SECTIONS` lists them.
The chart that a figure consists of follows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from concord.report.charts import Chart, Drawings, spread, text_width

if TYPE_CHECKING:
    from concord.report.reports import Report, Reports

CELL = 46.0
"""Side of a square of a map, in pixels."""
DEEPEST = 0.6
"""Opacity of the deepest colour: the figures stay legible on it, in light and in dark."""


def learning_curves(reports: Reports) -> Drawings:
    """The loss of every trained stage; policies have their colours."""
    charts = []
    for name, (steps, losses) in reports.curves.items():
        smooth = pd.Series(losses).ewm(span=max(1, len(losses) / 10)).mean().tolist()
        colour = reports.colours.get(name.removeprefix("policy_"), 0)
        charts.append(learning_chart(name, steps, losses, smooth, colour).svg())
    return {"": charts} if charts else {}


def learning_chart(
    name: str, steps: Sequence[float], values: Sequence[float], smooth: Sequence[float], colour: int
) -> Chart:
    """The loss of one stage per step, and smoothed."""
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


def conflict(reports: Reports) -> Drawings:
    """Share of pairs on which two objectives disagree."""
    shares = reports.data["conflict"]
    return {"": [conflict_map(shares, list(reports.params["objectives"]))]} if shares else {}


def conflict_map(shares: Mapping[str, Report], names: Sequence[str]) -> str:
    """Share of pairs with opposite preferences on two objectives; deeper colour, more conflict."""
    cells = {}
    for share in shares.values():
        one, other = share["objectives"]
        hint = f"{one} and {other}: {share['pairs']} pairs judged on both"
        cells[one, other] = Cell(f"{100 * share['opposed']:.0f} %", share["opposed"], 2, hint)
    return pair_map(cells, names, "share of opposed pairs")


def gradient_conflict(reports: Reports) -> Drawings:
    """Per policy: the cosines between the gradients of its objectives."""
    names = list(reports.params["objectives"])
    return {
        policy: [cosine_map(cosines, names)] for policy, cosines in reports.gradient_cosines.items()
    }


def cosine_map(cosines: Mapping[tuple[str, str], Sequence[float]], names: Sequence[str]) -> str:
    """The mean cosine of each pair over the steps; one colour for conflict, one for agreement."""
    cells = {}
    for (one, other), values in cosines.items():
        mean, low, high = fmean(values), min(values), max(values)
        hint = f"{one} and {other}: from {low:.2f} to {high:.2f} in {len(values)} steps"
        cells[one, other] = Cell(f"{mean:.2f}", abs(mean), 2 if mean < 0 else 1, hint)
    return pair_map(cells, names, "mean cosine between gradients")


class Cell(NamedTuple):
    """The square of a pair of objectives."""

    text: str
    depth: float
    """Depth of the colour, between 0 and 1."""
    colour: int
    hint: str


def pair_map(cells: Mapping[tuple[str, str], Cell], names: Sequence[str], label: str) -> str:
    """A square for each pair of objectives, in the order of `names`."""
    shown = [name for name in names if any(name in pair for pair in cells)]
    positions = {name: position for position, name in enumerate(shown)}
    longest = max(map(text_width, shown), default=0.0)
    left, top = 10 + max(140.0, longest), 12.0
    size = CELL * len(shown)
    parts = []
    for name, position in positions.items():
        middle = position * CELL + CELL / 2
        parts.append(
            f'<text class="strong" x="{left - 10:g}" y="{top + middle + 4:g}" '
            f'text-anchor="end">{escape(name)}</text>'
            f'<text class="strong" transform="translate({left + middle + 4:g} '
            f'{top + size + 10:g}) rotate(-40)" text-anchor="end">{escape(name)}</text>'
        )
    for pair, cell in cells.items():
        one, other = (positions[name] for name in pair)
        for row, column in ((one, other), (other, one)):
            x, y, depth = left + column * CELL, top + row * CELL, DEEPEST * cell.depth
            parts.append(
                f'<rect class="f{cell.colour}" style="opacity:{depth:.2f}" x="{x + 1:g}" '
                f'y="{y + 1:g}" width="{CELL - 2:g}" height="{CELL - 2:g}"/>'
                f'<text class="strong" x="{x + CELL / 2:g}" y="{y + CELL / 2 + 4:g}" '
                f'text-anchor="middle">{cell.text}<title>{escape(cell.hint)}</title></text>'
            )
    # the names below the map slant by 40 degrees
    width, height = left + size + 16, top + size + 26 + max(84.0, 0.65 * longest)
    return (
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{label}" style="max-width:{width:g}px">{"".join(parts)}</svg>'
    )
