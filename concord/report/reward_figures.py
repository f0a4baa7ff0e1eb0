"""Figures of reward models: accuracy and calibration of their heads, and picking an answer by them.

A figure is a function from the reports to `Drawings`; `concord.report.page.SECTIONS` lists them.
The chart that a figure consists of follows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from concord.report.charts import SHAPES, Chart, Drawings, text_width
from concord.report.picking_chart import picking_chart

if TYPE_CHECKING:
    from concord.report.reports import Report, Reports

ROW, BARS = 26.0, 530.0
"""Height of a row of the chart of pair accuracies and width of its bars, in pixels."""


def head_quality(reports: Reports) -> Drawings:
    """Pair accuracy of every reward head that has pairs."""
    heads = _heads_with_pairs(reports)
    return {"": [quality_chart(heads)]} if heads else {}


def quality_chart(heads: Sequence[Report]) -> str:
    """Pair accuracy of each head with its interval, on a bar from length baseline to ceiling."""
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
            f'<text class="small" x="{x:.1f}" y="{base + 14:g}" text-anchor="middle">'
            f"{value:g}</text>"
        )
    for index, head in enumerate(heads):
        parts += _quality_row(head, left - 12, 22 + ROW * index, px)
    return (
        f'<svg class="chart" viewBox="0 0 {width:g} {total:g}" role="img" '
        f'aria-label="pair accuracy of reward heads" style="max-width:{width:g}px">'
        f"{''.join(parts)}</svg>"
    )


def _quality_row(head: Report, end: float, y: float, px: Callable[[float], float]) -> list[str]:
    """Bar, whisker, dot and name, which ends at `end`; the bar is grey without a ceiling."""
    known = head["ceiling"] is not None
    start, stop = sorted([px(head["length_baseline"]), px(head["ceiling"] if known else 1.0)])
    name, group = escape(head["objective"]), escape(head["group"])
    hint = escape(f"{head['pair_accuracy']:.3f} by {head['group']}")
    return [
        f'<rect class="band f{int(known)}" x="{start:.1f}" y="{y - 6:g}" '
        f'width="{stop - start:.1f}" height="12"/>',
        f'<path class="whisker l1" d="M{px(head["ci_low"]):.1f} {y:g}H{px(head["ci_high"]):.1f}"/>',
        f'<path class="halo f1" transform="translate({px(head["pair_accuracy"]):.1f} {y:g})" '
        f'd="{SHAPES[1]}"><title>{hint}</title></path>',
        f'<text class="strong" x="{end:g}" y="{y + 4:g}" text-anchor="end">{name}'
        f'<tspan class="small" style="fill:var(--muted)"> by {group}</tspan></text>',
    ]


def reliability(reports: Reports) -> Drawings:
    """A reliability diagram of every reward head that has pairs."""
    charts = [
        reliability_chart(
            f"{head['objective']} by {head['group']}", head["calibration"]["reliability"], 1
        ).svg()
        for head in _heads_with_pairs(reports)
    ]
    return {"": charts} if charts else {}


def reliability_chart(name: str, bins: Sequence[Report], colour: int) -> Chart:
    """Observed accuracy against predicted probability; a calibrated head is on the diagonal."""
    chart = Chart(
        (0.49, 1.01), (min([0.3, *(each["observed"] for each in bins)]) - 0.02, 1.02), 290, 210,
        title=name, x_label="predicted probability", y_label="observed accuracy", left=52,
    )  # fmt: skip
    chart.curve([(0.5, 0.5), (1.0, 1.0)], 0, "fine")
    chart.curve([(each["predicted"], each["observed"]) for each in bins], colour)
    for each in bins:
        hint = (
            f"{each['pairs']} pairs: predicted {each['predicted']:.2f}, "
            f"observed {each['observed']:.2f}"
        )
        chart.mark((each["predicted"], each["observed"]), colour, hint, 0.8)
    return chart


def _heads_with_pairs(reports: Reports) -> list[dict[str, Any]]:
    return [head for head in reports.heads if head["pair_accuracy"] is not None]


def head_picking(reports: Reports) -> Drawings:
    """Ways of picking an answer, with the scores of each reward head on checkable problems."""
    return {
        f"{head['objective']} by {head['group']}": [
            picking_chart(head["objective"], head["best_of_n"]).svg()
        ]
        for head in reports.heads
        if head.get("best_of_n")
    }


def process_picking(reports: Reports) -> Drawings:
    """Ways of picking an answer, with the scores of the process reward model."""
    return {
        name: [picking_chart(name, report).svg()]
        for name, report in reports.process["best_of_n"].items()
        if report
    }
