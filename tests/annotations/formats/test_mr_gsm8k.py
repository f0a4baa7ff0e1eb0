"""The format mr_gsm8k."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from concord.annotations import interchange, reader
from concord.annotations.record import Record
from concord.stage.errors import ParamsError

FIRST = "model_output_solution_first_error_step"
ROW = {
    "question": "Ann has 2 red pears and buys 3 green ones. How many has she?",
    "question_type": "original",
    "ground_truth_answer": "5",
    "model_output_steps": ["Step 1: She buys 3.", "Step 2: 2 + 3 = 6.\r", "Step 3: #### 6"],
    "model_output_answer_correctness": "wrong",
    "model_output_solution_correctness": "wrong",
    FIRST: 2,
}


def read(folder: Path, options: dict[str, Any], row: dict[str, Any]) -> list[Record]:
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return list(reader.read("mr_gsm8k", path, {"objective": "sound", **options}, {}))


def test_row_becomes_labelled_steps(tmp_path: Path) -> None:
    (record,) = read(tmp_path, {}, ROW)
    assert record.row is not None
    (row,) = interchange.rows(record.row)
    assert "".join(row["steps"]) == "Step 1: She buys 3.\n\nStep 2: 2 + 3 = 6.\r\n\nStep 3: #### 6"
    assert row["messages"] == [{"role": "user", "content": ROW["question"]}]
    assert (row["labels"], row["objective"], row["label_kind"]) == ([1, 0, None], "sound", "human")
    assert record.row["question_type"] == "original"


def test_correct_solution_needs_no_error_step(tmp_path: Path) -> None:
    (record,) = read(
        tmp_path, {}, {**ROW, "model_output_solution_correctness": "correct", FIRST: "N/A"}
    )
    assert record.row is not None
    assert record.row["labels"] == [1, 1, 1]


@pytest.mark.parametrize(("correctness", "label"), [("correct", 1), ("wrong", 0)])
def test_outcome_and_prompt_are_optional(tmp_path: Path, correctness: str, label: int) -> None:
    row = {**ROW, "model_output_answer_correctness": correctness, "ground_truth_answer": 5}
    steps, outcome, prompt = read(tmp_path, {"outcome": "right", "prompts": True}, row)
    assert steps.row is not None
    assert outcome.row is not None
    assert prompt.row is not None
    (graded,) = interchange.rows(outcome.row)
    assert (graded["response"], graded["rating"]) == ("".join(steps.row["steps"]), label)
    (prompt_row,) = interchange.rows(prompt.row)
    assert (prompt_row["domain"], prompt_row["reference"]) == ("math", "5")


def test_problem_and_its_reversal_are_one_group(tmp_path: Path) -> None:
    turned = (
        "Ann has x red pears and buys 3 green ones. How many has she?\n"
        "If the answer is 5, what is x?"
    )
    other = "Ben has 2 red pears and buys 3 green ones. How many has he?"
    groups = [
        record.row["group_id"]
        for question in (ROW["question"], turned, other)
        for record in read(tmp_path, {}, {**ROW, "question": question})
        if record.row is not None
    ]
    assert groups[0] == groups[1] != groups[2]


def test_rows_are_selected_by_type(tmp_path: Path) -> None:
    assert read(tmp_path, {"types": ["reversed"]}, ROW) == []
    assert len(read(tmp_path, {"types": ["reversed", "original"]}, ROW)) == 1
    with pytest.raises(ParamsError, match="types"):
        read(tmp_path, {"types": ["inverted"]}, ROW)


@pytest.mark.parametrize("answer", ["Let's think step by step.", "", "x=5", "5,", True])
def test_only_steps_are_kept_unless_the_answer_is_a_number(tmp_path: Path, answer: Any) -> None:
    row = {**ROW, "ground_truth_answer": answer}
    steps, *others = read(tmp_path, {"outcome": "right", "prompts": True}, row)
    assert steps.row is not None
    rejections = [
        (other.rejection.reason, other.rejection.column)
        for other in others
        if other.rejection is not None
    ]
    assert rejections == [("wrong_type", "ground_truth_answer")] * 2


@pytest.mark.parametrize(
    ("change", "reason", "column"),
    [
        ({"question": None}, "missing_key", "question"),
        ({"question_type": "inverted"}, "off_scale", "question_type"),
        ({"ground_truth_answer": None}, "missing_key", "ground_truth_answer"),
        ({"model_output_steps": "Step 1"}, "wrong_type", "model_output_steps"),
        (
            {"model_output_answer_correctness": "maybe"},
            "off_scale",
            "model_output_answer_correctness",
        ),
        (
            {"model_output_solution_correctness": None},
            "missing_key",
            "model_output_solution_correctness",
        ),
        ({FIRST: "N/A"}, "wrong_type", FIRST),
        ({FIRST: 0}, "off_scale", FIRST),
        ({FIRST: 4}, "off_scale", FIRST),
    ],
)
def test_invalid_rows_are_rejected(
    tmp_path: Path, change: dict[str, Any], reason: str, column: str
) -> None:
    (record,) = read(tmp_path, {"outcome": "right"}, {**ROW, **change})
    assert record.rejection is not None
    assert (record.rejection.reason, record.rejection.column) == (reason, column)


def test_real_data(public_data: Callable[[str], Path]) -> None:
    """590 wrong solutions, 19 with the correct answer. The answers to 75 are sentences."""
    records = list(
        reader.read(
            "mr_gsm8k",
            public_data("mr_gsm8k_wrong590/mr_gsm8k_wrong.jsonl"),
            {"objective": "sound", "outcome": "right", "prompts": True},
            {},
        )
    )
    rows = [record.row for record in records if record.row is not None]
    assert Counter(row["kind"] for row in rows) == {"steps": 590, "binary": 515, "prompt": 515}
    assert all(row["labels"].count(0) == 1 for row in rows if row["kind"] == "steps")
    assert len(records) == 3 * 590
    assert {record.rejection.reason for record in records if record.rejection is not None} == {
        "wrong_type"
    }
