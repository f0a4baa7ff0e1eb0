"""The picture of ways of picking an answer: right ones against how many are picked from."""

from collections.abc import Mapping, Sequence
from typing import Any

from concord.evaluation.rewards.picking import WAYS
from concord.report.charts import Chart, spread


def picking_chart(name: str, found: Mapping[str, Any]) -> Chart:
    """Right answers against how many are picked from: one curve a way of picking, bands for the two that matter."""
    sizes = [int(size) for size in found["by_size"]]
    all_of = found["by_size"][str(found["n"])]
    ways = [way for way in WAYS if way in all_of]
    bounds = [
        each[way][key]
        for each in found["by_size"].values()
        for way in ways
        for key in ("ci_low", "ci_high")
    ]
    chart = Chart(
        (min(sizes) - 0.2, max(sizes) + 0.2), spread(bounds, 0.1), 460, 270, title=f"{name}: picking one answer",
        x_label="answers to pick from", y_label="right", right=130,
    )  # fmt: skip
    ends = [(all_of[way]["value"], way) for way in ways]
    places = dict(
        zip(
            [way for _, way in sorted(ends)],
            apart([chart.py(end) for end, _ in sorted(ends)]),
            strict=True,
        )
    )
    for way in ways:
        colour, curve = list(WAYS).index(way), [each[way] for each in found["by_size"].values()]
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
        at = (sizes[-1], all_of[way]["value"])
        chart.note(
            at,
            WAYS[way],
            dx=12,
            dy=4 + places[way] - chart.py(at[1]),
            anchor="start",
            more="strong",
        )
    return chart


def apart(places: Sequence[float], least: float = 13.0) -> list[float]:
    """Heights of labels, from the lowest on the page up, moved so that none covers another."""
    found: list[float] = []
    for place in places:
        found.append(min(place, found[-1] - least) if found else place)
    return found
