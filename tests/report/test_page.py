"""The list of the page's figures, and the template that shows them."""

import re
from pathlib import Path

from concord.report import page
from concord.report.reports import Reports
from tests.reports_fixture import params

TEMPLATE = Path(page.__file__).with_name("page.html.jinja")


def test_every_section_has_a_slot_in_the_template() -> None:
    slots = re.findall(r"figures\('(\w+)'\)", TEMPLATE.read_text(encoding="utf-8"))
    assert len(slots) == len(set(slots))
    assert set(slots) == {section.slot for section in page.SECTIONS}


def test_every_section_is_drawn(reported: Path) -> None:
    """The fixture has all data except the answers that a reward head picks from."""
    slots = page.drawn(Reports(params(), Path("reports")))
    empty = [slot for slot, sections in slots.items() if not sections]
    assert empty == ["picking"]
    (gradients,) = [
        part for part in slots["training"] if part["section"].title == "Conflict between gradients"
    ]
    ((policy, (drawing,)),) = gradients["groups"].items()
    assert policy == "grpo"
    assert ">-0.20<title>harmless and helpful: from -0.50 to 0.10 in 2 steps<" in drawing
    assert all(
        drawing.startswith('<svg class="chart"')
        for sections in slots.values()
        for section in sections
        for drawings in section["groups"].values()
        for drawing in drawings
    )
