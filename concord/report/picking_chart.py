"""Chart of the ways of picking an answer: accuracy against the number of answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from concord.evaluation.rewards.picking import WAYS
from concord.report.charts import Chart, spread


def picking_chart(name: str, report: Mapping[str, Any]) -> Chart:
    """Accuracy against the number of answers: a curve per way, bands for the vote and the score."""
    sizes = [int(size) for size in report["by_size"]]
    largest = report["by_size"][str(report["n"])]
    ways = [way for way in WAYS if way in largest]
    bounds = [
        each[way][key]
        for each in report["by_size"].values()
        for way in ways
        for key in ("ci_low", "ci_high")
    ]
    chart = Chart(
        (min(sizes) - 0.2, max(sizes) + 0.2),
        spread(bounds, 0.1),
        460,
        270,
        title=f"{name}: picking one answer",
        x_label="answers to pick from",
        y_label="accuracy",
        right=130,
    )
    ends = [(largest[way]["value"], way) for way in ways]
    heights = dict(
        zip(
            [way for _, way in sorted(ends)],
            separate([chart.py(end) for end, _ in sorted(ends)]),
            strict=True,
        )
    )
    for way in ways:
        colour, curve = list(WAYS).index(way), [each[way] for each in report["by_size"].values()]
        if way in ("majority", "scorer"):
            chart.band(
                sizes,
                [each["ci_low"] for each in curve],
                [each["ci_high"] for each in curve],
                colour,
            )
        chart.curve(
            [(size, each["value"]) for size, each in zip(sizes, curve, strict=True)], colour
        )
        for size, each in zip(sizes, curve, strict=True):
            chart.mark(
                (size, each["value"]), colour, f"{WAYS[way]}, {size}: {each['value']:.3f}", 0.7
            )
        at = (sizes[-1], largest[way]["value"])
        chart.note(
            at,
            WAYS[way],
            dx=12,
            dy=4 + heights[way] - chart.py(at[1]),
            anchor="start",
            more="strong",
        )
    return chart


def separate(wanted: Sequence[float], least: float = 13.0) -> list[float]:
    """Label heights, in pixels from the bottom of the page up, moved so that none overlap.

    Examples:
        >>> separate([100.0, 99.0, 50.0], 10.0)
        [100.0, 90.0, 50.0]
    """
    heights: list[float] = []
    for height in wanted:
        heights.append(min(height, heights[-1] - least) if heights else height)
    return heights
