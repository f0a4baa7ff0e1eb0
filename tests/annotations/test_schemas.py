"""The schemas of the tables, and the quarantine."""

from typing import Any

import pytest

from concord.annotations import schemas
from concord.annotations.quarantine import (
    REASONS,
    Location,
    Quarantine,
    check_quarantine_share,
    samples,
)
from concord.annotations.record import Rejection
from concord.stage.errors import DataError

SHARED = {
    "source": "s",
    "source_file": "",
    "source_line": 1,
    "group_id": "g",
    "row_id": "r",
    "messages": [{"role": "user", "content": "q"}],
}
JUDGED = {**SHARED, "objective": "o", "annotator": "x"}
ROWS: dict[str, dict[str, Any]] = {
    "prompts": {**SHARED, "prompt_id": "p", "domain": "d", "reference": None},
    "demonstrations": {**SHARED, "response": "a", "domain": "d", "author": "x"},
    "comparisons": {
        **JUDGED,
        "chosen": "a",
        "rejected": "b",
        "margin": None,
        "chosen_author": None,
        "rejected_author": "x",
    },
    "ratings": {
        **JUDGED,
        "response": "a",
        "rating": 0.5,
        "raw_rating": 3.0,
        "scale_low": 1.0,
        "scale_high": 5.0,
        "author": None,
        "kind": "rating",
    },
    "steps": {
        **SHARED,
        "steps": ["a", "b"],
        "labels": [None, 1.0],
        "objective": "o",
        "label_kind": "human",
    },
}


@pytest.mark.parametrize("table", list(schemas.SCHEMAS))
def test_valid_rows_pass_and_every_column_is_described(table: str) -> None:
    assert schemas.failures(table, schemas.build(table, [ROWS[table]] * 2)) == {}
    assert schemas.failures(table, schemas.build(table, [])) == {}
    assert all(column.description for column in schemas.SCHEMAS[table].columns.values())


@pytest.mark.parametrize(
    ("table", "changed", "reason", "column"),
    [
        ("demonstrations", {"response": " \n"}, "empty_response", "response"),
        ("demonstrations", {"domain": None}, "wrong_type", "domain"),
        ("demonstrations", {"response": None}, "wrong_type", "response"),
        ("comparisons", {"rejected": ""}, "empty_response", "rejected"),
        ("comparisons", {"rejected": " a "}, "identical_responses", "chosen"),
        ("ratings", {"rating": 1.25}, "off_scale", "rating"),
        ("ratings", {"kind": "guess"}, "wrong_type", "kind"),
        ("steps", {"labels": [-100.0, 1.0]}, "off_scale", "labels"),
        ("steps", {"steps": [], "labels": []}, "empty_response", "steps"),
        ("steps", {"steps": ["a", " "]}, "empty_response", "steps"),
    ],
)
def test_invalid_value_is_reported_with_its_row(
    table: str, changed: dict[str, Any], reason: str, column: str
) -> None:
    """A label of -100 would become True if it was cast to bool."""
    frame = schemas.build(table, [ROWS[table], {**ROWS[table], **changed}, ROWS[table]])
    failures = schemas.failures(table, frame)
    assert {row: (rejection.reason, rejection.column) for row, rejection in failures.items()} == {
        1: (reason, column)
    }


def _quarantine(*reasons: str) -> Quarantine:
    quarantine = Quarantine()
    for line, reason in enumerate(reasons, start=1):
        quarantine.add(
            Location("s", "", line), "ratings", Rejection(reason, "rating", "?"), "raw \ud800" * 100
        )
    return quarantine


def test_too_many_rejections_raise_with_all_reasons() -> None:
    quarantine = _quarantine("not_json", "off_scale", "off_scale")
    check_quarantine_share(quarantine, 30, 0.1, "s")
    with pytest.raises(
        DataError,
        match=r"(?s)3 of 29 rows \(10\.3%\).* 2  off_scale .*first on line 2, rating.* 1  ",
    ):
        check_quarantine_share(quarantine, 29, 0.1, "s")


def test_samples_count_all_rows_and_show_twenty() -> None:
    frame = _quarantine(*["tie"] * 25, "not_json").take()
    assert frame["raw"].str.len().max() == 500
    shown = samples(frame)
    assert {reason: (entry["count"], len(entry["rows"])) for reason, entry in shown.items()} == {
        "tie": (25, 20),
        "not_json": (1, 1),
    }
    assert set(shown["tie"]["rows"][0]) == {
        "source",
        "source_file",
        "source_line",
        "table",
        "column",
        "reason",
        "detail",
    }


def test_empty_quarantine_is_a_table() -> None:
    assert list(Quarantine().take().columns) == list(schemas.QUARANTINE.columns)
    assert samples(Quarantine().take()) == {}
    assert all(text for text in REASONS.values())
