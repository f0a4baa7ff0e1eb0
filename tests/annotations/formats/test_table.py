"""The format table."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.annotations import interchange, reader
from concord.annotations.formats.table import converted
from concord.annotations.record import Record, RowError
from concord.stage.errors import ParamsError

MESSAGES = [{"role": "user", "content": "Name a colour."}]
JUDGED = {"objective": "helpful", "annotator": "crowd"}


def read(folder: Path, row: dict[str, Any], **options: Any) -> Record:
    path = folder / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(row))
        writer.writeheader()
        writer.writerow(row)
    (record,) = reader.read("table", path, options, {})
    return record


def read_all(
    folder: Path, row: dict[str, Any], columns: dict[str, str] | None = None, **options: Any
) -> list[Record]:
    """The annotations of a row of JSON Lines; `constants` are those of a comparison by default."""
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    constants = {"annotator": "crowd"} | ({} if "objectives" in options else JUDGED)
    given_options = {"prompt": "question", "constants": constants, **options}
    return list(reader.read("table", path, given_options, columns or {}))


def converted_rows(record: Record) -> list[dict[str, Any]]:
    assert record.row is not None, record.rejection
    return interchange.rows(record.row)


KINDS = [
    (
        "prompt",
        {"question": "Name a colour.", "reference": ""},
        {"domain": "values"},
        {"reference": None},
    ),
    (
        "demonstration",
        {"question": "Name a colour.", "response": "Red."},
        {"domain": "values", "author": "me"},
        {"response": "Red.", "author": "me"},
    ),
    (
        "comparison",
        {
            "question": "Name a colour.",
            "a": "No.",
            "b": "Red.",
            "preferred": "b",
            "margin": " 1e0 ",
        },
        JUDGED,
        {"chosen": "Red.", "rejected": "No.", "margin": 1.0, **JUDGED},
    ),
    (
        "rating",
        {"question": "Name a colour.", "response": "Red.", "rating": ".5", "objective": "short"},
        {**JUDGED, "scale": [0, 2]},
        {"rating": 0.25, **JUDGED},
    ),
    (
        "rating",
        {"messages": json.dumps(MESSAGES), "response": "Red.", "rating": "+4", "scale": "[5, 1]"},
        JUDGED,
        {"rating": 0.25, "scale_low": 5.0},
    ),
    (
        "binary",
        {"question": "Name a colour.", "response": "Red.", "label": "True"},
        JUDGED,
        {"rating": 1.0},
    ),
    (
        "binary",
        {"question": "Name a colour.", "response": "Red.", "label": "0"},
        JUDGED,
        {"rating": 0.0},
    ),
    (
        "ranking",
        {"question": "Name a colour.", "responses": '["Red.", "No."]', "ranks": "[2, 1]"},
        JUDGED,
        {"response": "Red.", "rating": 0.0},
    ),
    (
        "steps",
        {"question": "Name a colour.", "steps": '["Hm. ", "Red."]', "labels": "[null, 0.5]"},
        {"objective": "sound", "label_kind": "human"},
        {"steps": ["Hm. ", "Red."], "labels": [None, 0.5]},
    ),
]


@pytest.mark.parametrize(("kind", "row", "constants", "wanted"), KINDS)
def test_row_of_text_becomes_annotation(
    tmp_path: Path,
    kind: str,
    row: dict[str, Any],
    constants: dict[str, Any],
    wanted: dict[str, Any],
) -> None:
    prompt = "question" if "question" in row else None
    first, *_ = converted_rows(read(tmp_path, row, kind=kind, constants=constants, prompt=prompt))
    assert first["messages"] == MESSAGES
    assert {key: first[key] for key in wanted} == wanted


def test_every_kind_is_covered() -> None:
    assert {kind for kind, *_ in KINDS} == set(interchange.KINDS)


def test_values_other_than_text_are_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = {
        "messages": MESSAGES,
        "response": "Red.",
        "label": True,
        "group_id": 7,
        "other": [1],
        **JUDGED,
    }
    path.write_text(json.dumps(row), encoding="utf-8")
    (record,) = reader.read("table", path, {"kind": "binary"}, {})
    assert record.row == {
        **{key: row[key] for key in row if key != "other"},
        "kind": "binary",
        "label": 1,
    }
    assert converted_rows(record)[0]["rating"] == 1.0


def test_prompt_is_the_group_unless_there_is_a_group_column(tmp_path: Path) -> None:
    options = {"kind": "prompt", "prompt": "question", "constants": {"domain": "values"}}
    groups = {
        name: converted_rows(read(tmp_path, {"question": question, **row}, **options))[0][
            "group_id"
        ]
        for name, question, row in [
            ("one", "Hi.", {}),
            ("same", "Hi.", {"reference": "Hello."}),
            ("empty", "Hi.", {"group_id": ""}),
            ("other", "Hello.", {}),
            ("named", "Hi.", {"group_id": "7"}),
        ]
    }
    assert groups["one"] == groups["same"] == groups["empty"]
    assert groups["one"] != groups["other"]
    assert groups["named"] == "7"


def test_system_turn_precedes_the_prompt(tmp_path: Path) -> None:
    options = {
        "kind": "prompt",
        "prompt": "question",
        "constants": {"domain": "values"},
        "system": "Be brief.",
    }
    (row,) = converted_rows(read(tmp_path, {"question": "Hi."}, **options))
    assert row["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi."},
    ]


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**6), 10**6))
def test_numbers_are_parsed_from_their_text(number: float) -> None:
    assert converted("rating", str(number)) == number


@pytest.mark.parametrize(
    ("row", "reason", "column"),
    [
        ({"question": ""}, "missing_key", "question"),
        ({"asked": "Hi."}, "missing_key", "question"),
        ({"question": "Hi.", "rating": "good"}, "wrong_type", "rating"),
        ({"question": "Hi.", "rating": "1_000"}, "wrong_type", "rating"),
        ({"question": "Hi.", "rating": "4/5"}, "wrong_type", "rating"),
        ({"question": "Hi.", "rating": "true"}, "wrong_type", "rating"),
        ({"question": "Hi.", "label": "yes"}, "wrong_type", "label"),
        ({"question": "Hi.", "margin": "."}, "wrong_type", "margin"),
        ({"question": "Hi.", "scale": "0 to 4"}, "not_json", "scale"),
        ({"question": "Hi.", "steps": '["Hm.'}, "not_json", "steps"),
        ({"question": "Hi.", "labels": "[" * 100_000}, "not_json", "labels"),
    ],
)
def test_invalid_rows_are_rejected(
    tmp_path: Path, row: dict[str, Any], reason: str, column: str
) -> None:
    kinds = {"label": "binary", "margin": "comparison", "steps": "steps", "labels": "steps"}
    rejection = read(tmp_path, row, kind=kinds.get(column, "rating"), prompt="question").rejection
    assert rejection is not None
    assert (rejection.reason, rejection.column) == (reason, column)


def test_columns_of_other_kinds_are_ignored(tmp_path: Path) -> None:
    """Here `label` says which answer is better, and `steps` is how long it took."""
    row = {"question": "Q?", "a": "x", "b": "y", "label": "A>B", "steps": 3, "winner": "a"}
    record = read_all(tmp_path, row, columns={"preferred": "winner"}, kind="comparison")[0]
    assert record.rejection is None


def test_each_objective_has_a_column_with_its_label(tmp_path: Path) -> None:
    row = {"question": "Q?", "a": "x", "b": "y", "more_helpful": "b", "safer": "tie?"}
    named = {"helpful": "more_helpful", "harmless": "safer", "brief": "shorter"}
    first, second, third = read_all(tmp_path, row, kind="comparison", objectives=named)
    (pair,) = converted_rows(first)
    assert (pair["objective"], pair["chosen"]) == ("helpful", "y")
    with pytest.raises(RowError, match="off_scale"):
        converted_rows(second)
    assert third.rejection is not None
    assert (third.rejection.reason, third.rejection.column) == ("missing_key", "shorter")


def test_objectives_need_labels(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="a prompt has no label"):
        read_all(tmp_path, {"question": "Q?"}, kind="prompt", objectives={"helpful": "x"})


def test_each_answer_of_a_list_is_rated(tmp_path: Path) -> None:
    row = {"question": "Q?", "answers": [{"text": "x", "score": 4}, {"text": "y", "score": 1}]}
    columns = {"response": "answers[].text", "rating": "answers[].score"}
    constants = {"objective": "helpful", "annotator": "x", "scale": [0, 4]}
    records = read_all(tmp_path, row, columns, kind="rating", constants=constants)
    rated = [row for record in records for row in converted_rows(record)]
    assert [(row["response"], row["rating"]) for row in rated] == [("x", 1.0), ("y", 0.25)]
    row["answers"] = [{"text": "x", "score": 4}, {"text": "y"}]
    good, bad = read_all(tmp_path, row, columns, kind="rating", constants=constants)
    assert good.rejection is None
    with pytest.raises(RowError, match="no_label"):
        converted_rows(bad)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"response": "Red."}, "missing_key"),
        ({"messages": "3"}, "wrong_type"),
        ({"messages": "[3]"}, "wrong_type"),
    ],
)
def test_messages_are_required_without_prompt_column(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    rejection = read(tmp_path, row, kind="prompt").rejection
    assert rejection is not None
    assert (rejection.reason, rejection.column) == (reason, "messages")


def test_keys_of_a_kind_are_checked_by_the_interchange_format(tmp_path: Path) -> None:
    record = read(tmp_path, {"question": "Hi."}, kind="prompt", prompt="question")
    with pytest.raises(RowError, match="domain: missing_key"):
        converted_rows(record)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"options\.kind is missing"),
        ({"kind": "opinion"}, r"options\.kind: input should be 'prompt'"),
        (
            {"kind": "prompt", "constants": {"domian": "x"}},
            r"constants\.domian is not a key .* did you mean domain\?",
        ),
        ({"kind": "prompt", "constants": {"kind": "x"}}, r"constants\.kind is not a key"),
        ({"kind": "prompt", "system": "Be brief."}, "system requires prompt"),
    ],
)
def test_invalid_options_raise(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        list(reader.read("table", tmp_path / "rows.csv", options, {}))
