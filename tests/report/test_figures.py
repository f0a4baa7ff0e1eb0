"""Figures of the report: long names of objectives stay within the charts."""

import re

import pytest

from concord.report.policy_figures import control_chart
from concord.report.reward_figures import quality_chart, reliability_chart
from concord.report.training_figures import conflict_map

LONG = "keeps_the_student_thinking_for_longer"
PIXELS = 7
"""Minimum width of a character."""


def _number(pattern: str, chart: str) -> float:
    match = re.search(pattern, chart)
    assert match is not None, pattern
    return float(match[1])


@pytest.mark.parametrize("name", [LONG, 3 * LONG])
def test_names_fit_beside_the_bars(name: str) -> None:
    """A name fits between the left edge and its bar; the bars keep their width."""
    head = {
        "length_baseline": 0.5,
        "ceiling": None,
        "pair_accuracy": 0.8,
        "ci_low": 0.7,
        "ci_high": 0.9,
    }
    chart = quality_chart([{**head, "objective": name, "group": "tutoring"}])
    end = _number(rf'x="([\d.]+)" y="[\d.]+" text-anchor="end">{name}', chart)
    assert (
        PIXELS * len(f"{name} by tutoring") <= end < _number(r'class="band f0" x="([\d.]+)"', chart)
    )
    assert _number(r'class="band f0" .*? width="([\d.]+)"', chart) > 400


def test_names_fit_around_the_map() -> None:
    """The names below slant by 40 degrees, which determines the height."""
    chart = conflict_map(
        {"pair": {"objectives": [LONG, "short"], "opposed": 0.5, "pairs": 9}}, [LONG, "short"]
    )
    assert _number(rf'x="([\d.]+)" y="[\d.]+" text-anchor="end">{LONG}', chart) >= PIXELS * len(
        LONG
    )
    start = _number(rf'translate\([\d.]+ ([\d.]+)\) rotate\(-40\)" text-anchor="end">{LONG}', chart)
    assert _number(r'viewBox="0 0 [\d.]+ ([\d.]+)"', chart) >= start + 0.643 * PIXELS * len(LONG)


def test_names_fit_above_charts() -> None:
    curve = {name: [0.1, 0.9] for name in ("weights", "gold_means", "gold_ci_low", "gold_ci_high")}
    bins = [{"pairs": 3, "observed": 0.6, "predicted": 0.7}]
    for chart in (
        control_chart(LONG, {**curve, "rank_correlation": 1.0}, 1),
        reliability_chart(LONG, bins, 1),
    ):
        assert chart.width >= chart.left + PIXELS * len(LONG)
