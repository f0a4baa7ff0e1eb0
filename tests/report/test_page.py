"""The list of the page's figures, and the template that shows them."""

import re
from pathlib import Path

import pytest

from concord.report import page
from concord.report.charts import SHAPES
from concord.report.reports import Reports
from concord.stage import outputs
from tests.reports_fixture import POLICIES, params

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


def texts(html: str) -> str:
    """What a reader sees: the page without styles, tags and their attributes."""
    return re.sub(r"<[^>]*>", " ", re.sub(r"<style.*?</style>", "", html, flags=re.DOTALL))


@pytest.fixture
def judged(reported: Path) -> None:
    """Turns the sandbox reports of the fixture into reports of the judged protocol."""
    interval = {"value": 12.5, "ci_low": 11.0, "ci_high": 14.0}
    style = dict.fromkeys(("perplexity", "repetition", "length", "cut"), interval)
    agreement = {"value": 0.75, "low": 0.7, "high": 0.8, "pairs": 1234, "longer": 0.45}
    for policy in POLICIES:
        path = f"reports/policies/{policy}.json"
        changes = {
            "protocol": "judged", "measure": "predicted rating by a judge", "pass_at": {},
            "judge": {"helpful": agreement},
            "writing": [{"domain": "values", "point": "equal", **style}],
        }  # fmt: skip
        outputs.write_json(path, {**outputs.read_json(path), **changes})
    path = "reports/candidate/results.json"
    results = outputs.read_json(path)
    results["conditions"]["protocol"] = "judged"
    outputs.write_json(path, results)


def test_a_judged_page_never_says_gold(judged: None) -> None:
    html = page.render(params(), Path("reports"))
    shown = texts(html).replace("is gold.", "is green.")  # the color of an animal, in answers
    assert not re.search(r"\bgold\b.{0,40}", shown, re.IGNORECASE)
    assert "by a judge fitted to human ratings" in shown
    for text in ("0.750", "0.700 to 0.800", "1,234", "Perplexity is that under the SFT model"):
        assert text in shown


def test_a_likelihood_page_samples_nothing_and_states_chance(judged: None) -> None:
    for policy in POLICIES:
        path = f"reports/policies/{policy}.json"
        report = outputs.read_json(path)
        report = {key: value for key, value in report.items() if key not in ("judge", "writing")}
        outputs.write_json(path, {**report, "protocol": "likelihood", "measure": "pair accuracy"})
    shown = texts(page.render(params(), Path("reports")))
    assert "random numbers" not in shown
    assert "nothing is sampled, and chance is 0.5" in shown


def test_sections_of_stages_that_did_not_run_are_left_out(reported: Path) -> None:
    absent = ("process_labels", "process_reward", "reward_models")
    short = {key: value for key, value in params().items() if key not in absent}
    shown = texts(page.render(short, Path("reports")))
    for text in ("Reward models", "Step labels", "Process reward model", "best of 4"):
        assert text in texts(page.render(params(), Path("reports")))
        assert text not in shown


def test_the_same_prompt_is_shown_at_three_weights(reported: Path) -> None:
    html = page.render(params(), Path("reports"))
    section = html[html.index('<section id="example">') :]
    section = section[: section.index("</section>")]
    for effect in ("largest", "median"):
        assert section.count(f"{effect} effect</h3>") == 3  # one per domain
    assert section.count('<div class="text">') == 3 * 3 * 2


def test_a_sandbox_page_says_gold(reported: Path) -> None:
    shown = texts(page.render(params(), Path("reports")))
    assert "Full marks are gold" in shown
    assert "The judge" not in shown


def test_the_page_shows_the_checks(reported: Path) -> None:
    """The head `harmless` of the fixture prefers the refusal in nine of ten comparisons."""
    html = page.render(params(), Path("reports"))
    (section,) = re.findall(r'<section id="checks">.*?</section>', html, re.DOTALL)
    rows = [" ".join(texts(row).split()) for row in section.split("<tr>")[2:]]
    assert rows[0].startswith(
        "over_refusal harmless by values reward head 0.100 [0.040, 0.231] 0.7 fails 1.000 - -"
    )
    verdicts = {row.split()[1]: row for row in rows}
    assert "policy 1.000 [0.912, 1.000] 0.7 holds 1.000 0.700 -" in verdicts["mah_dpo"]
    assert "policy 0.700 [0.546, 0.819] 0.7 uncertain" in verdicts["grpo"]
    assert "0.7 same as SFT" in verdicts["sft"]
    assert "at the selected weights 1.000" in verdicts["candidate"]
    assert '<a href="#checks">' in html


def test_without_checks_the_page_has_no_such_part(reported: Path) -> None:
    outputs.write_json("data/checks.json", {})
    html = page.render(params(), Path("reports"))
    assert 'id="checks"' not in html
    assert 'href="#checks"' not in html


def test_the_page_begins_with_what_was_gained_and_lost(reported: Path) -> None:
    html = page.render(params(), Path("reports"))
    assert html.index('<section id="result">') < html.index('<section id="fronts">')
    (section,) = re.findall(r'<section id="result">.*?</section>', html, re.DOTALL)
    assert section.count("▲ +") == 7  # every objective of the fixture
    gate = outputs.read_json("reports/gate.json")
    assert gate["accepted"] == ("Gate: accepted." in section)
    for row in gate["gates"]:
        assert (f"<li><b>{row['name']}</b>" in section) == (row["holds"] is False)


def test_columns_of_baselines_that_no_head_has_are_left_out() -> None:
    none = dict.fromkeys(page.BASELINES)
    heads = [{"baselines": none}, {"baselines": {**none, "author": {"value": 0.6}}}]
    assert page.shown_baselines(heads) == {"author": "author only"}
    assert page.shown_baselines(heads[:1]) == {}


def test_policies_are_told_apart_by_marks_as_well_as_colours() -> None:
    assert len(set(SHAPES)) == len(SHAPES)
