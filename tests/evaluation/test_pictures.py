"""Pictures of the report: what they say stays within them."""

import re

from tasks.evaluation.pictures import quality_chart

LONG = "keeps_the_student_thinking_for_longer"


def test_the_longest_name_stays_within_the_picture() -> None:
    """It ends where the bars begin, so it must begin right of the edge: at least 7 pixels for each character."""
    head = {"length_baseline": 0.5, "ceiling": None, "pair_accuracy": 0.8, "ci_low": 0.7, "ci_high": 0.9}
    chart = quality_chart([{**head, "objective": LONG, "group": "tutoring"}])
    found = re.search(rf'x="([\d.]+)" y="[\d.]+" text-anchor="end">{LONG}', chart)
    assert found is not None
    assert float(found[1]) >= 7 * len(f"{LONG} by tutoring")
    bar = re.search(r'class="band f0" x="([\d.]+)"', chart)
    assert bar is not None
    assert float(found[1]) < float(bar[1])
