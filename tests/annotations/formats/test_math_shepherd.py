"""The format math_shepherd."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.annotations import interchange, reader
from concord.annotations.formats import math_shepherd
from concord.annotations.record import Record

TEXT = (
    "Ann has 2 pears and buys 3. How many? Step 1: 2+3=<<2+3=6>>6. {}\n"
    "Step 2: She has 6. The answer is: 6 {}"
)
ROW = {"input": TEXT.format("ки", "ки"), "label": TEXT.format("+", "-"), "task": "GSM8K"}


def read(folder: Path, options: dict[str, Any], row: dict[str, Any]) -> list[Record]:
    path = folder / "math-shepherd.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    return list(reader.read("math_shepherd", path, {"objective": "promising", **options}, {}))


def test_row_becomes_labelled_steps(tmp_path: Path) -> None:
    (record,) = read(tmp_path, {}, ROW)
    assert record.row is not None
    (row,) = interchange.rows(record.row)
    assert row["steps"] == ["Step 1: 2+3=<<2+3=6>>6.\n\n", "Step 2: She has 6. The answer is: 6"]
    assert row["messages"] == [{"role": "user", "content": "Ann has 2 pears and buys 3. How many?"}]
    assert (row["labels"], row["objective"], row["label_kind"]) == (
        [1, 0],
        "promising",
        "hard_estimation",
    )


@pytest.mark.parametrize(("mark", "label"), [("+", 1), ("-", 0)])
def test_last_mark_is_the_outcome(tmp_path: Path, mark: str, label: int) -> None:
    _, outcome, prompt = read(
        tmp_path, {"outcome": "right", "prompts": True}, {**ROW, "label": TEXT.format("+", mark)}
    )
    assert outcome.row is not None
    assert prompt.row is not None
    (row,) = interchange.rows(outcome.row)
    assert row["response"] == "Step 1: 2+3=<<2+3=6>>6.\n\nStep 2: She has 6. The answer is: 6"
    assert (row["rating"], row["objective"]) == (label, "right")
    assert interchange.rows(prompt.row)[0]["reference"] is None


def test_solution_without_answer_has_no_outcome(tmp_path: Path) -> None:
    cut = {key: value.replace("The answer is: 6 ", "") for key, value in ROW.items()}
    (record,) = read(tmp_path, {"outcome": "right"}, cut)
    assert record.row is not None
    assert record.row["kind"] == "steps"


STEP = st.text(alphabet="ab+-. ", min_size=1, max_size=8).filter(str.strip)


@given(st.lists(st.tuples(STEP, st.booleans()), min_size=1, max_size=5))
def test_steps_and_labels_are_recovered(steps: list[tuple[str, bool]]) -> None:
    """The steps also contain + and - signs that are not marks."""
    lines = [f"Step {number}: {step}" for number, (step, _) in enumerate(steps, start=1)]
    given_text = "Why + how? " + "\n".join(f"{line} ки" for line in lines)
    label = "Why + how? " + "\n".join(
        f"{line} {'-+'[good]}" for line, (_, good) in zip(lines, steps, strict=True)
    )
    row = {"input": given_text, "label": label}
    (converted,) = math_shepherd.annotations(row, math_shepherd.Options("promising"))
    assert "".join(converted["steps"]) == "\n\n".join(line.strip() for line in lines)
    assert converted["labels"] == [float(good) for _, good in steps]


@pytest.mark.parametrize(
    ("change", "reason", "column"),
    [
        ({"input": None}, "missing_key", "input"),
        ({"label": 1}, "wrong_type", "label"),
        ({"input": "How many? Step 1: 5."}, "wrong_type", "input"),
        ({"input": ROW["input"] + " And so on."}, "wrong_type", "input"),
        (
            {"input": "ки How many? Step 1: 5 ки", "label": "+ How many? Step 1: 5 +"},
            "wrong_type",
            "input",
        ),
        ({"label": TEXT.format("+", "*")}, "wrong_type", "label"),
        ({"label": TEXT.format("+", "-").replace("pears", "plums")}, "wrong_type", "label"),
        ({"label": TEXT.format("+", "- Step 3: 7 +")}, "wrong_type", "label"),
        ({"label": TEXT.format("+", "")}, "wrong_type", "label"),
    ],
)
def test_invalid_rows_are_rejected(
    tmp_path: Path, change: dict[str, Any], reason: str, column: str
) -> None:
    (record,) = read(tmp_path, {}, {**ROW, **change})
    assert record.rejection is not None
    assert (record.rejection.reason, record.rejection.column) == (reason, column)
