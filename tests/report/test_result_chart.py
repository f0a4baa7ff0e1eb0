"""What the candidate gained and lost: marks for both directions, everything within the figure."""

import re

from concord.evaluation.metrics import Interval
from concord.evaluation.policies.published import Row
from concord.report.result_chart import Side, result_chart

MEAN = Interval(0.5, 0.45, 0.55)
RIVAL = Interval(0.9, 0.85, 0.95)
LONG = "keeps_the_student_thinking_for_longer"
SFT, CANDIDATE = Side("SFT model", 0), Side("published <model>", 1)


def _row(name: str, low: float, high: float, rival: Interval | None = None) -> Row:
    change = Interval((low + high) / 2, low, high)
    return Row(name, MEAN, MEAN, change, rival, change if rival else None)


def test_gain_loss_and_neither_have_their_marks() -> None:
    rows = [_row("up", 0.1, 0.3), _row("down", -0.3, -0.1), _row("same", -0.101, 0.099)]
    chart = result_chart(rows, SFT, CANDIDATE, None)
    changes = re.findall(r'text-anchor="end">(. [^<]*)<', chart)
    assert changes == ["▲ +0.20", "▼ -0.20", "= +0.00"]
    assert "published &lt;model&gt;" in chart
    assert chart.count("<title>") == 6  # SFT and candidate in three rows


def test_the_rival_and_long_names_are_within_the_figure() -> None:
    rival = Side(f"{LONG}, not steerable", 2)
    chart = result_chart([_row(LONG, 0.1, 0.3, RIVAL)], SFT, CANDIDATE, rival)
    width = float(re.findall(r'viewBox="0 0 ([\d.]+)', chart)[0])
    assert f"<title>{rival.label}: 0.900 (0.850 to 0.950)</title>" in chart
    assert all(0 < float(x) < width for x in re.findall(r"translate\(([\d.]+)", chart))
    start = float(re.findall(rf'x="([\d.]+)" y="16">{rival.label}', chart)[0])
    assert start + 7 * len(rival.label) <= width
