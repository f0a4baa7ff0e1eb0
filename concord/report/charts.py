"""Small SVG charts: axes, lines, bands, marks with whiskers. Colours are CSS variables, light and
dark.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

Pair = tuple[float, float]
Drawings = dict[str, list[str]]
"""Subheading (may be empty) -> SVG elements; empty if there is nothing to draw."""

LIGHT = {
    "page": "#f6f7fa",
    "panel": "#ffffff",
    "ink": "#1c2330",
    "muted": "#5d6879",
    "line": "#d5dae3",
    "grid": "#eceff4",
    "s0": "#78859a",
    "s1": "#4053d6",
    "s2": "#d9730d",
    "s3": "#0f8a6c",
    "s4": "#c2347b",
    "s5": "#1b85b8",
    "s6": "#8a6d0a",
    "s7": "#7d4cc7",
}
DARK = {
    "page": "#10141b",
    "panel": "#171c26",
    "ink": "#e7ebf2",
    "muted": "#98a4b6",
    "line": "#36404f",
    "grid": "#242c38",
    "s0": "#93a1b5",
    "s1": "#8f9dff",
    "s2": "#ffab5c",
    "s3": "#3fd0a4",
    "s4": "#ff85bd",
    "s5": "#5cc4f2",
    "s6": "#dcc04d",
    "s7": "#c39bff",
}
SERIES = 8
STYLE = (
    "text{font:12px system-ui,-apple-system,'Segoe UI',sans-serif;fill:var(--muted)}"
    ".title{font-size:13px;font-weight:600;fill:var(--ink)}.strong{fill:var(--ink)}.small{font-size:11px}"
    ".axis{stroke:var(--line);fill:none}.grid{stroke:var(--grid);fill:none}"
    ".whisker{fill:none;stroke-width:1.4;opacity:.75}.curve{fill:none;stroke-width:2;stroke-linejoin:round}"
    ".fine{stroke-width:1.2;opacity:.55}.band{opacity:.16;stroke:none}.halo{stroke:var(--panel);stroke-width:1.2}"
    ".faint{opacity:.45}.dashed{stroke-dasharray:4 3}"
    + "".join(f".f{i}{{fill:var(--s{i})}}.l{i}{{stroke:var(--s{i})}}" for i in range(SERIES))
)
SHAPES = (  # the first is an x, for the reference
    "M-4.6 -2.6L-2.6 -4.6L0 -2L2.6 -4.6L4.6 -2.6L2 0L4.6 2.6L2.6 4.6L0 2L-2.6 4.6L-4.6 2.6L-2 0Z",
    "M-4.5 0A4.5 4.5 0 1 0 4.5 0A4.5 4.5 0 1 0 -4.5 0Z",  # circle
    "M-4 -4H4V4H-4Z",  # square
    "M0 -5.6L5.6 0L0 5.6L-5.6 0Z",  # diamond
    "M0 -5.2L5 4H-5Z",  # triangle
    "M0 5.2L5 -4H-5Z",  # triangle, point down
    "M-1.7 -5H1.7V-1.7H5V1.7H1.7V5H-1.7V1.7H-5V-1.7H-1.7Z",  # cross
    "M0 -5.4L1.6 -1.8L5.2 -1.6L2.4 .9L3.3 4.6L0 2.6L-3.3 4.6L-2.4 .9L-5.2 -1.6L-1.6 -1.8Z",  # star
)


def variables(colours: dict[str, str]) -> str:
    """CSS declarations of a palette."""
    return "".join(f"--{name}:{value};" for name, value in colours.items())


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round values at most, within [low, high].

    Examples:
        >>> ticks(0.0, 1.0)
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    rough = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough - 1e-12)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def spread(values: Sequence[float], least: float = 0.04) -> Pair:
    """A range around the finite `values` with a margin, at least `least` wide; (0, 1) without
    values.
    """
    finite = [value for value in values if value is not None and math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    air = max(0.08 * (high - low), (least - (high - low)) / 2, 1e-9)
    return low - air, high + air


def number(value: float) -> str:
    """A short tick label without trailing zeros.

    Examples:
        >>> number(0.50), number(12000)
        ('0.5', '1.2e4')
    """
    text = f"{value:.4g}"
    return text.replace("e+0", "e").replace("e-0", "e-")


def text_width(text: str) -> float:
    """Upper estimate of the width of a text, in pixels."""
    return 8.6 * len(text)


@dataclass
class Chart:
    """One pair of axes. Coordinates are in data units, sizes in pixels. The width grows with the
    title.
    """

    x: Pair
    y: Pair
    width: float = 300
    height: float = 240
    title: str = ""
    x_label: str = ""
    y_label: str = ""
    left: float = 46
    bottom: float = 40
    top: float = 26
    right: float = 12
    parts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.y_label:  # rotated, and 14 pixels wide
            digits = max(len(number(value)) for value in ticks(*self.y))
            self.left = max(self.left, 22 + 6.6 * digits)
        self.width = max(self.width, self.left + text_width(self.title) + self.right)

    def px(self, value: float) -> float:
        """Pixel of a value on the x axis."""
        return self.left + (value - self.x[0]) / (self.x[1] - self.x[0]) * (
            self.width - self.left - self.right
        )

    def py(self, value: float) -> float:
        """Pixel of a value on the y axis."""
        return (
            self.height
            - self.bottom
            - (value - self.y[0]) / (self.y[1] - self.y[0]) * self._plot_height
        )

    @property
    def _plot_height(self) -> float:
        return self.height - self.bottom - self.top

    def curve(self, points: Sequence[Pair], series: int, more: str = "") -> None:
        """A line through data points."""
        if points:
            path = "L".join(f"{self.px(x):.1f} {self.py(y):.1f}" for x, y in points)
            self.parts.append(f'<path class="curve l{series} {more}" d="M{path}"/>')

    def band(
        self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], series: int
    ) -> None:
        """The area between two curves."""
        upper = [*zip(xs, highs, strict=True)]
        lower = [*zip(reversed(xs), reversed(lows), strict=True)]
        path = "L".join(f"{self.px(x):.1f} {self.py(y):.1f}" for x, y in upper + lower)
        self.parts.append(f'<path class="band f{series}" d="M{path}Z"/>')

    def whiskers(self, x: Pair | None, y: Pair | None, at: Pair, series: int) -> None:
        """Intervals of a point along either axis."""
        lines = []
        if x is not None:
            lines.append(f"M{self.px(x[0]):.1f} {self.py(at[1]):.1f}H{self.px(x[1]):.1f}")
        if y is not None:
            lines.append(f"M{self.px(at[0]):.1f} {self.py(y[0]):.1f}V{self.py(y[1]):.1f}")
        self.parts.append(f'<path class="whisker l{series}" d="{"".join(lines)}"/>')

    def mark(
        self, at: Pair, series: int, tip: str = "", scale: float = 1.0, more: str = "halo"
    ) -> None:
        """A mark with an optional tooltip."""
        transform = f"translate({self.px(at[0]):.1f} {self.py(at[1]):.1f}) scale({scale})"
        hint = f"<title>{escape(tip)}</title>" if tip else ""
        self.parts.append(
            f'<path class="{more} f{series}" transform="{transform}" d="{SHAPES[series]}">'
            f"{hint}</path>"
        )

    def note(
        self,
        at: Pair,
        text: str,
        dx: float = 0,
        dy: float = 0,
        anchor: str = "middle",
        more: str = "small",
    ) -> None:
        """A label beside a data point."""
        x, y = self.px(at[0]) + dx, self.py(at[1]) + dy
        self.parts.append(
            f'<text class="{more}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
            f"{escape(text)}</text>"
        )

    def markup(self) -> str:
        """Axes, grid and everything drawn, as SVG elements."""
        return "".join([*self._axes(), *self.parts])

    def svg(self) -> str:
        """The chart as an SVG element; the page provides the styles."""
        label = escape(self.title or self.y_label or "chart")
        return (
            f'<svg class="chart" viewBox="0 0 {self.width:g} {self.height:g}" role="img" '
            f'aria-label="{label}" style="max-width:{self.width:g}px">{self.markup()}</svg>'
        )

    def _axes(self) -> list[str]:
        left, right, base, top = (
            self.left,
            self.width - self.right,
            self.height - self.bottom,
            self.top,
        )
        lines = []
        for value in ticks(*self.y):
            y = self.py(value)
            lines.append(f'<path class="grid" d="M{left:g} {y:.1f}H{right:g}"/>')
            lines.append(
                f'<text class="small" x="{left - 6:g}" y="{y + 4:.1f}" text-anchor="end">'
                f"{number(value)}</text>"
            )
        for value in ticks(*self.x, count=5):
            x = self.px(value)
            lines.append(f'<path class="grid" d="M{x:.1f} {base:g}V{top:g}"/>')
            lines.append(
                f'<text class="small" x="{x:.1f}" y="{base + 15:g}" text-anchor="middle">'
                f"{number(value)}</text>"
            )
        lines.append(f'<path class="axis" d="M{left:g} {top:g}V{base:g}H{right:g}"/>')
        middle_x, middle_y = (left + right) / 2, (top + base) / 2
        lines.append(
            f'<text class="title" x="{left:g}" y="{top - 10:g}">{escape(self.title)}</text>'
        )
        lines.append(
            f'<text x="{middle_x:g}" y="{self.height - 7:g}" text-anchor="middle">'
            f"{escape(self.x_label)}</text>"
        )
        lines.append(
            f'<text x="12" y="{middle_y:g}" text-anchor="middle" '
            f'transform="rotate(-90 12 {middle_y:g})">{escape(self.y_label)}</text>'
        )
        return lines


def standalone(width: float, height: float, body: str, title: str) -> str:
    """A complete SVG file with light and dark colours that loads nothing."""
    dark = f"@media(prefers-color-scheme:dark){{:root{{{variables(DARK)}}}}}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img" aria-label="{escape(title)}">'
        f"<style>:root{{{variables(LIGHT)}}}{dark}{STYLE}</style>"
        f'<rect x=".5" y=".5" width="{width - 1:g}" height="{height - 1:g}" rx="10" '
        f'fill="var(--panel)" stroke="var(--line)"/>{body}</svg>\n'
    )
