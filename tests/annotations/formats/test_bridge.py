"""The format bridge."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from concord.annotations import interchange, reader
from concord.annotations.dialogues import OPENING, SYSTEM
from concord.annotations.formats import mrbench
from concord.annotations.record import Record, RowError
from concord.stage.errors import ParamsError


def turns(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        {"id": number, "user": user, "text": words, "time": "00:01"}
        for number, (user, words) in enumerate(pairs)
    ]


ROW = {
    "c_id": "2963625_105",
    "lesson_topic": "Shapes",
    "c_h": turns(("tutor", "Hello."), ("tutor", "What has 5 sides?"), ("student", "a hexagon")),
    "c_r": turns(("tutor", "That is a good try.")),
    "c_r_": turns(("tutor", "Close! "), ("tutor", "A hexagon has 6 sides.")),
}


def read(folder: Path, **changed: Any) -> Record:
    path = folder / "test.json"
    path.write_text(json.dumps([{**ROW, **changed}]), encoding="utf-8")
    (record,) = reader.read("bridge", path, {"objective": "expert"}, {})
    return record


def test_row_becomes_comparison_that_prefers_the_expert(tmp_path: Path) -> None:
    record = read(tmp_path)
    assert record.row is not None
    (converted,) = interchange.rows(record.row)
    assert converted["messages"] == [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": OPENING.format("Hello.\nWhat has 5 sides?", "a hexagon")},
    ]
    assert (converted["chosen"], converted["rejected"]) == (
        "Close!\nA hexagon has 6 sides.",
        "That is a good try.",
    )
    assert (converted["objective"], converted["annotator"], converted["margin"]) == (
        "expert",
        "bridge",
        None,
    )


def test_session_is_the_group(tmp_path: Path) -> None:
    rows = [read(tmp_path, c_id=name).row for name in ("1_105", "1_7", "2_105")]
    assert [row["group_id"] for row in rows if row is not None] == ["1", "1", "2"]


@pytest.mark.parametrize(
    ("changed", "reason", "column"),
    [
        ({"c_id": None}, "missing_key", "c_id"),
        ({"c_id": 2963625}, "wrong_type", "c_id"),
        ({"c_id": "2963625"}, "wrong_type", "c_id"),
        ({"c_id": "_105"}, "wrong_type", "c_id"),
        ({"c_h": None}, "missing_key", "c_h"),
        ({"c_h": "student: a hexagon"}, "wrong_type", "c_h"),
        ({"c_h": ["a hexagon"]}, "wrong_type", "c_h"),
        ({"c_h": turns(("parent", "a hexagon"))}, "unknown_role", "c_h"),
        ({"c_h": [{"user": "student"}]}, "missing_key", "c_h"),
        ({"c_r": None}, "missing_key", "c_r"),
        ({"c_r": turns(("tutor", "Try."), ("student", "ok"))}, "unknown_role", "c_r"),
        ({"c_r_": turns(("student", "ok"))}, "unknown_role", "c_r_"),
        ({"c_r_": [{"user": "tutor", "text": 3}]}, "wrong_type", "c_r_"),
    ],
)
def test_invalid_rows_are_rejected(
    tmp_path: Path, changed: dict[str, Any], reason: str, column: str
) -> None:
    rejection = read(tmp_path, **changed).rejection
    assert rejection is not None
    assert (rejection.reason, rejection.column) == (reason, column)


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        ([], "roles_do_not_alternate"),
        (turns(("student", "a hexagon"), ("tutor", "Hm.")), "roles_do_not_alternate"),
        (turns(("tutor", "Hello.")), "roles_do_not_alternate"),
        (turns(("student", " ")), "empty_prompt"),
    ],
)
def test_history_is_checked_by_the_interchange_format(
    tmp_path: Path, history: list[dict[str, Any]], reason: str
) -> None:
    record = read(tmp_path, c_h=history)
    assert record.row is not None
    with pytest.raises(RowError, match=reason):
        interchange.rows(record.row)


def test_objective_is_required(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"options\.objective is missing"):
        list(reader.read("bridge", tmp_path, {}, {}))


def test_real_data(public_data: Callable[[str], Path]) -> None:
    """700 rows. Two of them revise the same reply to an empty student turn."""
    records = list(reader.read("bridge", public_data("bridge"), {"objective": "expert"}, {}))
    assert Counter(record.file for record in records) == {
        "train.json": 419,
        "validation.json": 71,
        "test.json": 210,
    }
    assert all(record.row is not None for record in records)
    assert Counter(outcome(record) for record in records) == {"kept": 698, "empty_prompt": 2}


def test_dialogues_in_mrbench_have_the_same_prompts(public_data: Callable[[str], Path]) -> None:
    """All 55 shared dialogues, so that leakage between the two sources is detected."""
    prompts = [
        record.row["messages"]
        for record in reader.read("bridge", public_data("bridge"), {"objective": "expert"}, {})
        if record.row
    ]
    entries = [
        entry
        for entry in json.loads(public_data("mrbench/MRBench_V2.json").read_text(encoding="utf-8"))
        if entry["Data"] == "Bridge"
    ]
    assert len(entries) == 55
    assert all(mrbench.messages(entry["conversation_history"]) in prompts for entry in entries)


def outcome(record: Record) -> str:
    try:
        interchange.rows(record.row or {})
    except RowError as error:
        return error.rejection.reason
    return "kept"
