"""The README's table and picture: on synthetic samples, and those in git against the record."""

from pathlib import Path

from concord.report.headline import END, README, Record, picture, table, with_table
from concord.stage import outputs
from tests.reports_fixture import OBJECTIVES

ROOT = Path(__file__).parents[2]


def test_a_row_per_objective_with_paired_marks(reported: Path) -> None:
    """In the synthetic samples every policy gains over SFT, and none loses."""
    lines = table(Record()).splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    assert len(rows) == len(OBJECTIVES)
    assert all("▲" in row for row in rows)
    assert "the published model raises 7 of 7 objectives over sft" in " ".join(lines)


def test_a_refused_candidate_is_called_so(reported: Path) -> None:
    gate = outputs.read_json("reports/gate.json")
    outputs.write_json("reports/gate.json", {**gate, "accepted": False})
    text = " ".join(table(Record()).split())
    assert "| objective | SFT | refused candidate |" in text
    assert "the refused candidate raises 7" in text
    assert "published" not in text


def test_the_picture_is_deterministic_and_loads_nothing(reported: Path) -> None:
    first, second = picture(Record()), picture(Record())
    assert first == second
    assert "published" in first
    assert "<image" not in first


def test_the_table_replaces_the_text_between_the_markers() -> None:
    text = "a\n<!-- headline: begin -->\nold\n<!-- headline: end -->\nb\n"
    assert with_table(text, "new") == f"a\n<!-- headline: begin -->\nnew\n{END}\nb\n"


def test_the_readme_shows_the_record() -> None:
    """`python -m concord.report.headline` writes both again."""
    text = (ROOT / README).read_text(encoding="utf-8")
    record = Record(ROOT)
    assert with_table(text, table(record)) == text
    assert (ROOT / "docs/headline.svg").read_text(encoding="utf-8") == picture(record)
