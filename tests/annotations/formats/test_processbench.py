"""The format processbench."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.annotations import interchange, reader
from concord.annotations.formats import processbench
from concord.annotations.record import Record

ROW = {
    "id": "gsm8k-0",
    "generator": "small-model",
    "problem": "Ann has 2 pears and buys 3. How many has she?",
    "steps": ["She buys 3.", "2 + 3 = 6.", "So she has 6."],
    "final_answer_correct": False,
    "label": 1,
}


def read(folder: Path, options: dict[str, Any], row: dict[str, Any]) -> list[Record]:
    path = folder / "gsm8k.json"
    path.write_text(json.dumps([row]), encoding="utf-8")
    return list(reader.read("processbench", path, {"objective": "sound", **options}, {}))


def test_row_becomes_labelled_steps(tmp_path: Path) -> None:
    (record,) = read(tmp_path, {}, ROW)
    assert record.row is not None
    (row,) = interchange.rows(record.row)
    assert "".join(row["steps"]) == "She buys 3.\n\n2 + 3 = 6.\n\nSo she has 6."
    assert row["messages"] == [{"role": "user", "content": ROW["problem"]}]
    assert (row["labels"], row["objective"], row["label_kind"]) == ([1, 0, None], "sound", "human")
    assert record.row["author"] == "small-model"


def test_steps_of_a_correct_solution_are_labelled_1(tmp_path: Path) -> None:
    (record,) = read(tmp_path, {}, {**ROW, "label": -1})
    assert record.row is not None
    assert record.row["labels"] == [1, 1, 1]


def test_outcome_and_prompt_are_optional(tmp_path: Path) -> None:
    steps, outcome, prompt = read(
        tmp_path, {"outcome": "right", "prompts": True}, {**ROW, "final_answer_correct": True}
    )
    assert steps.row is not None
    assert outcome.row is not None
    assert prompt.row is not None
    (row,) = interchange.rows(outcome.row)
    assert (row["response"], row["rating"], row["objective"]) == (
        "".join(steps.row["steps"]),
        1,
        "right",
    )
    (prompt_row,) = interchange.rows(prompt.row)
    assert (prompt_row["domain"], prompt_row["reference"]) == ("math", None)


@given(st.data())
def test_first_error_is_the_only_0_and_the_last_label(data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.text(min_size=1), min_size=1, max_size=6))
    label = data.draw(st.integers(-1, len(steps) - 1))
    row = {**ROW, "steps": steps, "label": label}
    (converted,) = processbench.annotations(row, processbench.Options("sound"))
    assert "".join(converted["steps"]) == "\n\n".join(steps)
    assert (converted["labels"].index(0) if 0 in converted["labels"] else -1) == label
    assert converted["labels"].count(None) == (len(steps) - 1 - label if label >= 0 else 0)


@pytest.mark.parametrize(
    ("change", "reason", "column"),
    [
        ({"problem": None}, "missing_key", "problem"),
        ({"generator": 3}, "wrong_type", "generator"),
        ({"steps": "She buys 3."}, "wrong_type", "steps"),
        ({"steps": ["She buys 3.", 2]}, "wrong_type", "steps"),
        ({"label": None}, "missing_key", "label"),
        ({"label": 3}, "off_scale", "label"),
        ({"label": -2}, "off_scale", "label"),
        ({"label": 0.5}, "wrong_type", "label"),
        ({"final_answer_correct": "no"}, "wrong_type", "final_answer_correct"),
    ],
)
def test_invalid_rows_are_rejected(
    tmp_path: Path, change: dict[str, Any], reason: str, column: str
) -> None:
    (record,) = read(tmp_path, {"outcome": "right"}, {**ROW, **change})
    assert record.rejection is not None
    assert (record.rejection.reason, record.rejection.column) == (reason, column)
