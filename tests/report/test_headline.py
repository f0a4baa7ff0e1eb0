"""The README's table and picture: on synthetic samples, and those in git against the record."""

from pathlib import Path

import pytest

from concord.report.headline import END, README, Record, picture, sentence, table, with_table
from tests.reports_fixture import OBJECTIVES

ROOT = Path(__file__).parents[2]


def test_a_row_per_objective_with_paired_marks(reported: Path) -> None:
    """In the synthetic samples every policy gains over SFT, and none loses."""
    record = Record()
    rows = list(record.rows())
    assert [row.objective for row in rows] != []
    assert {row.objective for row in rows} == set(OBJECTIVES)
    for row in rows:
        assert row.published.low <= row.published.value <= row.published.high
        assert row.change.value == pytest.approx(row.published.value - row.sft)
    lines = table(record).splitlines()
    assert len([line for line in lines if line.startswith("| `")]) == len(OBJECTIVES)


def test_the_rival_is_trained_at_the_owners_weights(reported: Path) -> None:
    record = Record()
    record.params["policies"]["dpo_scalar"] = {"method": "dpo", "weights": record.weights}
    record.params["policies"]["grpo"] = {"method": "grpo", "weights": {"helpful": 1.0}}
    assert record.rivals() == ["dpo_scalar"]
    assert record.best_rival() == "dpo_scalar"


def test_lowered_objectives_are_named_in_the_sentence(reported: Path) -> None:
    record = Record()
    rows = list(record.rows())
    lost = rows[0].__class__(
        rows[0].objective, 0.9, rows[0].published, _below_zero(), rows[0].rival
    )
    assert f"lowers `{rows[0].objective}`" in " ".join(sentence(record, [lost, *rows[1:]]).split())
    assert "lowers none" in " ".join(sentence(record, rows).split())


def _below_zero() -> object:
    from concord.evaluation.metrics import Interval

    return Interval(-0.2, -0.3, -0.1)


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
