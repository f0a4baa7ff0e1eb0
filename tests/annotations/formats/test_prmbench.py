"""The format prmbench."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.annotations import interchange, reader, schemas
from concord.annotations.formats import prmbench
from concord.annotations.record import Record
from concord.stage.errors import ParamsError

ROW = {
    "idx": "prm_test_p1_0",
    "classification": "circular",
    "question": "What is $2+3$?",
    "original_question": "What is 2+3?",
    "original_process": ["1. Count on from 2.", "2. That is 5."],
    "modified_question": "What is 2+3, then?",
    "modified_process": [
        "1. Count on from 2.",
        "2. Say it is 5.",
        "3. So 5 is right.",
        "4. It is 5.",
    ],
    "error_steps": [2, 3],
}
OTHERS = {
    "classification": "multi_solutions",
    "modified_process": ["Step 1. Two.\n\nThree.\n\n  ", "Step 2. Five."],
    "error_steps": [],
    "ground_truth": "5",
}


def read(folder: Path, options: dict[str, Any], row: dict[str, Any]) -> list[Record]:
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return list(reader.read("prmbench", path, {"objective": "sound", **options}, {}))


def converted_rows(
    folder: Path, options: dict[str, Any], row: dict[str, Any]
) -> list[dict[str, Any]]:
    return [record.row for record in read(folder, options, row) if record.row is not None]


def test_row_becomes_two_labelled_solutions(tmp_path: Path) -> None:
    """Step 4 follows from the errors in steps 2 and 3, but is not an error itself."""
    original, modified = converted_rows(tmp_path, {}, ROW)
    assert (original["variant"], modified["variant"]) == ("original", "modified")
    assert {original["classification"], modified["classification"]} == {"circular"}
    assert original["group_id"] == modified["group_id"]
    (first,), (second,) = interchange.rows(original), interchange.rows(modified)
    assert (first["steps"], first["labels"]) == (
        ["1. Count on from 2.\n\n", "2. That is 5."],
        [1, 1],
    )
    assert first["messages"] == [{"role": "user", "content": "What is 2+3?"}]
    assert (second["labels"], second["label_kind"]) == ([1, 0, 0, 1], "injected")
    assert second["messages"] == [{"role": "user", "content": "What is 2+3, then?"}]


def test_row_without_errors_has_the_answer(tmp_path: Path) -> None:
    original, modified, prompt = converted_rows(tmp_path, {"prompts": True}, {**ROW, **OTHERS})
    assert original["labels"] == modified["labels"] == [1, 1]
    assert "".join(modified["steps"]) == "Step 1. Two.\n\nThree.\n\n  \n\nStep 2. Five."
    (row,) = interchange.rows(prompt)
    assert (row["messages"], row["domain"], row["reference"]) == (original["messages"], "math", "5")


def test_rewordings_of_a_problem_are_one_group(tmp_path: Path) -> None:
    one, *_ = converted_rows(tmp_path, {}, ROW)
    other, *_ = converted_rows(
        tmp_path, {}, {**ROW, "idx": "prm_test_p2_0", "original_question": "2 plus 3?"}
    )
    stranger, *_ = converted_rows(tmp_path, {}, {**ROW, "question": "What is $3+3$?"})
    assert one["group_id"] == other["group_id"] != stranger["group_id"]


def test_rows_are_selected_by_class(tmp_path: Path) -> None:
    assert read(tmp_path, {"classes": ["deception"]}, ROW) == []
    assert len(read(tmp_path, {"classes": ["deception", "circular"]}, ROW)) == 2
    with pytest.raises(ParamsError, match="classes"):
        read(tmp_path, {"classes": ["redundancy"]}, ROW)
    with pytest.raises(ParamsError, match="classes"):
        read(tmp_path, {"classes": []}, ROW)


def test_unmodified_solution_with_errors_is_rejected(tmp_path: Path) -> None:
    original, modified = read(
        tmp_path, {}, {**ROW, "modified_process": ROW["original_process"], "error_steps": [2]}
    )
    assert original.row is not None
    assert modified.rejection is not None
    assert (modified.rejection.reason, modified.rejection.column) == (
        "contradiction",
        "modified_process",
    )


def test_empty_step_fails_the_schema(tmp_path: Path) -> None:
    original, modified = converted_rows(
        tmp_path, {}, {**ROW, "original_process": ["1. Count on from 2.", " "]}
    )
    location = {"source": "s", "source_file": "", "source_line": 1}
    table = schemas.build(
        "steps",
        [{**row, **location} for row in interchange.rows(original) + interchange.rows(modified)],
    )
    assert {row: failure.reason for row, failure in schemas.failures("steps", table).items()} == {
        0: "empty_response"
    }


@given(st.data())
def test_error_steps_are_labelled_0(data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.text(min_size=1), min_size=3, max_size=6))
    errors = data.draw(st.lists(st.integers(1, len(steps)), min_size=1))
    row = {**ROW, "modified_process": steps, "error_steps": errors}
    _, modified = prmbench.annotations(row, prmbench.Options("sound"))
    assert isinstance(modified, dict)
    assert "".join(modified["steps"]) == "\n\n".join(steps)
    assert [
        number for number, label in enumerate(modified["labels"], start=1) if label == 0
    ] == sorted(set(errors))


@pytest.mark.parametrize(
    ("change", "reason", "column"),
    [
        ({"classification": "redundancy"}, "off_scale", "classification"),
        ({"question": None}, "missing_key", "question"),
        ({"original_question": 1}, "wrong_type", "original_question"),
        ({"modified_question": None}, "missing_key", "modified_question"),
        ({"original_process": None}, "missing_key", "original_process"),
        ({"modified_process": "1. Two."}, "wrong_type", "modified_process"),
        ({"error_steps": 2}, "wrong_type", "error_steps"),
        ({"error_steps": ["two"]}, "wrong_type", "error_steps"),
        ({"error_steps": [2, 5]}, "off_scale", "error_steps"),
        ({"error_steps": [0]}, "off_scale", "error_steps"),
        ({"error_steps": []}, "wrong_type", "error_steps"),
        ({**OTHERS, "error_steps": [1]}, "wrong_type", "error_steps"),
        ({**OTHERS, "ground_truth": 5}, "wrong_type", "ground_truth"),
    ],
)
def test_invalid_rows_are_rejected(
    tmp_path: Path, change: dict[str, Any], reason: str, column: str
) -> None:
    (record,) = read(tmp_path, {"prompts": True}, {**ROW, **change})
    assert record.rejection is not None
    assert (record.rejection.reason, record.rejection.column) == (reason, column)


def test_real_data(public_data: Callable[[str], Path]) -> None:
    """5,017 rows, 78 with an invalid error step. Four modified solutions equal the originals."""
    records = list(reader.read("prmbench", public_data("prmbench"), {"objective": "sound"}, {}))
    rows = [record.row for record in records if record.row is not None]
    rejected = Counter(
        record.rejection.reason for record in records if record.rejection is not None
    )
    assert rejected == {"off_scale": 78, "contradiction": 4}
    assert Counter(row["variant"] for row in rows) == {
        "original": 5017 - 78,
        "modified": 5017 - 78 - 4,
    }
    assert len({row["group_id"] for row in rows}) == 708
