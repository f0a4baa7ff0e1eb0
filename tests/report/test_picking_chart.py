"""The picture of picking: every way that was measured has a curve and a name, and names do not cover each other."""

import numpy as np
import pandas as pd

from concord.evaluation.rewards.picking import WAYS, report_by_size
from concord.report.picking_chart import apart, picking_chart

RNG = np.random.default_rng(0)
ANSWERS = pd.DataFrame(
    {"problem": np.arange(40) // 4, "final": "7", "correct": 1.0, "score": RNG.random(40)}
)
FOUND = report_by_size(ANSWERS.assign(group_id=ANSWERS["problem"].map(str)), 20, 0)


def test_curves_and_names() -> None:
    svg = picking_chart("math", FOUND).svg()
    assert svg.count('class="curve') == 5
    assert "outcome" not in FOUND["by_size"]["4"]
    assert all((f">{label}<" in svg) == (way != "outcome") for way, label in WAYS.items())


def test_labels_keep_apart() -> None:
    assert apart([100.0, 99.0, 98.0, 50.0], 10.0) == [100.0, 90.0, 80.0, 50.0]
