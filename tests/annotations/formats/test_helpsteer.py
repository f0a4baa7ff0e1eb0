"""The format helpsteer."""

import json
from pathlib import Path
from typing import Any

import pytest

from concord.annotations import interchange, reader
from concord.annotations.record import Record, RowError
from concord.stage.errors import ParamsError

RATED = {
    **{"prompt": "c#", "response": "C# is a language."},
    **{"helpfulness": 3, "correctness": 4, "coherence": 0, "complexity": 2, "verbosity": 1},
}
CONTEXT = [
    {"role": "user", "content": "Hi."},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "Name a colour."},
]
COMPARED = {
    "domain": "general",
    "context": CONTEXT,
    "response1": "Red.",
    "response2": "No.",
    "overall_preference": -2,
}


def read(folder: Path, row: dict[str, Any], **options: Any) -> list[Record]:
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return list(reader.read("helpsteer", path, options, {}))


def converted_rows(folder: Path, row: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    records = [record.row for record in read(folder, row, **options) if record.row is not None]
    return [item for record in records for item in interchange.rows(record)]


def test_attributes_become_ratings(
    tmp_path: Path,
) -> None:
    """3 on the scale 0 to 4 is 0.75."""
    rows = converted_rows(tmp_path, RATED)
    assert {row["objective"]: row["rating"] for row in rows} == {
        "helpfulness": 0.75,
        "correctness": 1.0,
        "coherence": 0.0,
    }
    assert rows[0]["messages"] == [{"role": "user", "content": "c#"}]
    assert {(row["response"], row["annotator"]) for row in rows} == {
        ("C# is a language.", "helpsteer")
    }


def test_other_attributes_are_optional_and_may_be_costs(tmp_path: Path) -> None:
    """1 on the scale 4 (worst) to 0 (best) is (1 - 4) / (0 - 4) = 0.75."""
    objectives = {"terse": "verbosity", "deep": "complexity"}
    rows = {
        row["objective"]: row
        for row in converted_rows(tmp_path, RATED, objectives=objectives, costs=["terse"])
    }
    assert {name: row["rating"] for name, row in rows.items()} == {"terse": 0.75, "deep": 0.5}
    assert (rows["terse"]["scale_low"], rows["terse"]["scale_high"]) == (4, 0)


def test_prompt_is_split_into_turns(tmp_path: Path) -> None:
    prompt = "Hi.\n\n<extra_id_1>Assistant\nHello!\n\n<extra_id_1>User\nName a colour."
    assert converted_rows(tmp_path, {**RATED, "prompt": prompt})[0]["messages"] == CONTEXT


@pytest.mark.parametrize(
    ("preference", "chosen", "margin"),
    [(-3, "Red.", 3), (-1, "Red.", 1), (1, "No.", 1), (2, "No.", 2)],
)
def test_preference_becomes_comparison(
    tmp_path: Path, preference: int, chosen: str, margin: float
) -> None:
    (row,) = converted_rows(tmp_path, {**COMPARED, "overall_preference": preference})
    assert (row["chosen"], row["margin"], row["objective"]) == (chosen, margin, "overall")
    assert row["messages"] == CONTEXT


def test_objective_of_comparisons_is_an_option(tmp_path: Path) -> None:
    assert converted_rows(tmp_path, COMPARED, objective="helpful")[0]["objective"] == "helpful"


def test_first_user_turn_is_the_group(
    tmp_path: Path,
) -> None:
    rows = [
        *converted_rows(tmp_path, COMPARED),
        *converted_rows(tmp_path, {**RATED, "prompt": "Hi."}),
    ]
    assert len({row["group_id"] for row in rows}) == 1
    assert converted_rows(tmp_path, RATED)[0]["group_id"] != rows[0]["group_id"]


def test_preference_of_zero_is_a_tie(tmp_path: Path) -> None:
    (record,) = read(tmp_path, {**COMPARED, "overall_preference": 0})
    assert record.row is not None
    with pytest.raises(RowError, match="tie"):
        interchange.rows(record.row)


@pytest.mark.parametrize(
    ("row", "reason", "column"),
    [
        ({}, "missing_key", "prompt"),
        ({**RATED, "prompt": ["c#"]}, "wrong_type", "prompt"),
        ({**RATED, "response": None}, "missing_key", "response"),
        ({**RATED, "helpfulness": None}, "no_label", "helpfulness"),
        ({**RATED, "helpfulness": "good"}, "wrong_type", "helpfulness"),
        ({**COMPARED, "context": None}, "missing_key", "prompt"),
        ({**COMPARED, "context": "Hi."}, "wrong_type", "context"),
        ({**COMPARED, "context": [{"role": "user"}]}, "missing_key", "context"),
        ({**COMPARED, "response2": 3}, "wrong_type", "response2"),
        ({**COMPARED, "overall_preference": 4}, "off_scale", "overall_preference"),
        ({**COMPARED, "overall_preference": 1.5}, "wrong_type", "overall_preference"),
        ({**COMPARED, "overall_preference": "left"}, "wrong_type", "overall_preference"),
    ],
)
def test_invalid_rows_are_rejected(
    tmp_path: Path, row: dict[str, Any], reason: str, column: str
) -> None:
    (record,) = read(tmp_path, row, objectives={"helpful": "helpfulness"})
    assert record.rejection is not None
    assert (record.rejection.reason, record.rejection.column) == (reason, column)


def test_missing_attribute_rejects_one_rating(tmp_path: Path) -> None:
    assert [record.row is None for record in read(tmp_path, {**RATED, "correctness": None})] == [
        False,
        True,
        False,
    ]


def test_scale_is_checked_by_the_interchange_format(tmp_path: Path) -> None:
    record, *_ = read(tmp_path, {**RATED, "helpfulness": 5})
    assert record.row is not None
    with pytest.raises(RowError, match="off_scale"):
        interchange.rows(record.row)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objectives": {"kind": "kindness"}}, r"options\.objectives\.kind"),
        ({"objectives": {}}, r"options\.objectives"),
        ({"costs": ["verbosity"]}, "costs contains 'verbosity', which is not in objectives"),
    ],
)
def test_options_are_checked(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        read(tmp_path, RATED, **options)
