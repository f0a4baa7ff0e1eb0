"""Chart of picking: every method has a curve and a label, and labels do not overlap."""

import numpy as np
import pandas as pd

from concord.evaluation.rewards.picking import WAYS, report_by_size
from concord.report.picking_chart import picking_chart, separate

RNG = np.random.default_rng(0)
ANSWERS = pd.DataFrame(
    {"problem": np.arange(40) // 4, "final": "7", "correct": 1.0, "score": RNG.random(40)}
)
REPORT = report_by_size(ANSWERS.assign(group_id=ANSWERS["problem"].map(str)), 20, 0)


def test_curves_and_names() -> None:
    svg = picking_chart("math", REPORT).svg()
    assert svg.count('class="curve') == 5
    assert "outcome" not in REPORT["by_size"]["4"]
    assert all((f">{label}<" in svg) == (way != "outcome") for way, label in WAYS.items())


def test_labels_do_not_overlap() -> None:
    assert separate([100.0, 99.0, 98.0, 50.0], 10.0) == [100.0, 90.0, 80.0, 50.0]
