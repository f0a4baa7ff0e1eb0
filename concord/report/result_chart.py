"""The first figure of the page: what the candidate gained and lost, an objective per row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from concord.evaluation.metrics import Interval
from concord.evaluation.policies.published import Row
from concord.report.charts import SHAPES, spread, ticks
from concord.report.charts import number as tick_label

ROW, TOP, LEFT, WIDTH = 42.0, 34.0, 10.0, 440.0
"""Height of a row and of the legend, margin, and least width, in pixels: legible on a phone."""
LETTER = 7.0
"""Width of a letter of the legend, in pixels."""


class Side(NamedTuple):
    """A model in the figure."""

    label: str
    colour: int
    """Number of its colour and mark."""


def result_chart(rows: Sequence[Row], sft: Side, candidate: Side, rival: Side | None) -> str:
    """SVG: per objective the SFT model, the candidate with its interval, its change, and the rival.

    The sign of a change whose interval excludes 0 is marked by a triangle.
    """
    low, high = spread([value for row in rows for value in _values(row)], 0.1)
    end, legend = _legend([side for side in (sft, candidate, rival) if side])
    width, base = max(WIDTH, end), TOP + ROW * len(rows)

    def px(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (width - 2 * LEFT)

    parts = [legend, f'<path class="axis" d="M{LEFT:g} {base:g}H{width - LEFT:g}"/>']
    for value in ticks(low, high):
        parts.append(
            f'<path class="grid" d="M{px(value):.1f} {TOP - 8:g}V{base:g}"/>'
            f'<text class="small" x="{px(value):.1f}" y="{base + 16:g}" text-anchor="middle">'
            f"{tick_label(value)}</text>"
        )
    for index, row in enumerate(rows):
        y = TOP + ROW * index
        parts.append(
            f'<text class="strong" x="{LEFT:g}" y="{y + 12:g}">{escape(row.objective)}</text>'
            f'<text class="strong" x="{width - LEFT:g}" y="{y + 12:g}" text-anchor="end">'
            f"{change(row.change)}</text>"
        )
        parts += _marks(row, y + 26, px, (sft, candidate, rival))
    return (
        f'<svg class="chart" viewBox="0 0 {width:g} {base + 24:g}" role="img" '
        f'aria-label="what the candidate gained and lost" style="max-width:{1.3 * width:g}px">'
        f"{''.join(parts)}</svg>"
    )


def change(change: Interval) -> str:
    """A paired change with two decimals; a triangle if its interval excludes 0.

    Examples:
        >>> change(Interval(0.3049, 0.25, 0.36)), change(Interval(0.001, -0.02, 0.02))
        ('▲ +0.30', '= +0.00')
    """
    mark = "▲" if change.low > 0 else "="
    return f"{'▼' if change.high < 0 else mark} {change.value:+z.2f}"


def _values(row: Row) -> list[float]:
    rival = [row.rival.value] if row.rival else []
    return [row.sft.value, row.candidate.low, row.candidate.high, *rival]


def _legend(sides: Sequence[Side]) -> tuple[float, str]:
    """Its right end, and its elements."""
    parts, x = [], LEFT
    for side in sides:
        parts.append(
            f'<path class="f{side.colour}" transform="translate({x + 6:g} 12)" '
            f'd="{SHAPES[side.colour]}"/>'
            f'<text class="strong" x="{x + 17:g}" y="16">{escape(side.label)}</text>'
        )
        x += 34 + LETTER * len(side.label)
    return x, "".join(parts)


def _marks(
    row: Row, y: float, px: Callable[[float], float], sides: tuple[Side, Side, Side | None]
) -> list[str]:
    """The change as a line, the interval as a bar, and a mark per model; that of SFT on top."""
    sft, candidate, rival = sides
    parts = [
        f'<path class="curve fine l{candidate.colour}" d="M{px(row.sft.value):.1f} {y:g}'
        f'H{px(row.candidate.value):.1f}"/>',
        f'<path class="whisker l{candidate.colour}" style="stroke-width:5;opacity:.3" '
        f'd="M{px(row.candidate.low):.1f} {y:g}H{px(row.candidate.high):.1f}"/>',
    ]
    if rival and row.rival:
        parts.append(_mark(px(row.rival.value), y, rival, row.rival))
    parts.append(_mark(px(row.candidate.value), y, candidate, row.candidate))
    return [*parts, _mark(px(row.sft.value), y, sft, row.sft)]


def _mark(x: float, y: float, side: Side, figures: Interval) -> str:
    hint = f"{side.label}: {figures.value:.3f} ({figures.low:.3f} to {figures.high:.3f})"
    return (
        f'<path class="halo f{side.colour}" transform="translate({x:.1f} {y:g}) scale(1.2)" '
        f'd="{SHAPES[side.colour]}"><title>{escape(hint)}</title></path>'
    )
