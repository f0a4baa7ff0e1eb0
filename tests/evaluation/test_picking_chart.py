"""The picture of picking: every way that was measured has a curve and a name, and names do not cover each other."""

import numpy as np

from tasks.evaluation.picking import report_by_size
from tasks.evaluation.picking_chart import LABELS, apart, picking_chart

RNG = np.random.default_rng(0)
FOUND = report_by_size(
    RNG.random((10, 4)), np.ones((10, 4)), np.full((10, 4), "7", object), None, [str(i) for i in range(10)], 20, 0
)


def test_curves_and_names() -> None:
    svg = picking_chart("math", FOUND).svg()
    assert svg.count('class="curve') == 5
    assert all((f">{label}<" in svg) == (way in FOUND) for way, label in LABELS.items())
    assert "outcome" not in FOUND


def test_labels_keep_apart() -> None:
    assert apart([100.0, 99.0, 98.0, 50.0], 10.0) == [100.0, 90.0, 80.0, 50.0]
