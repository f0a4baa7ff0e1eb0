"""The format mathdial."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from concord.annotations import interchange, reader
from concord.annotations.dialogues import OPENING, SYSTEM
from concord.annotations.formats.mathdial import PROBLEM
from concord.annotations.record import Record, RowError
from concord.stage.errors import ParamsError

CONVERSATION = [
    "Teacher: (generic)Hi Mariana,  talk me through it",
    "Student: I did 2+3=6.",
    "Teacher: (probing)What: is 2+3?",
    "Teacher: (telling)It is 5.",
    "Mariana: Ah, 5.",
]
ROW = {
    **{
        "qid": 6000025,
        "scenario": 1,
        "question": "What is 2+3?",
        "student_incorrect_solution": "2+3=6\n 6",
    },
    **{
        "student_profile": "Mariana is a 7th grade student.",
        "conversation": "|EOM|".join(CONVERSATION),
    },
}
STATES = [
    {"role": "system", "content": SYSTEM},
    {"role": "user", "content": OPENING.format(PROBLEM.format("What is 2+3?"), "2+3=6\n6")},
    {"role": "assistant", "content": "Hi Mariana, talk me through it"},
    {"role": "user", "content": "I did 2+3=6."},
    {"role": "assistant", "content": "What: is 2+3?\nIt is 5."},
    {"role": "user", "content": "Ah, 5."},
]


def read(folder: Path, options: dict[str, Any] | None = None, **changed: Any) -> list[Record]:
    path = folder / "test.jsonl"
    path.write_text(json.dumps({**ROW, **changed}) + "\n", encoding="utf-8")
    return list(reader.read("mathdial", path, options or {}, {}))


def kept(records: list[Record], kind: str) -> list[dict[str, Any]]:
    return [
        record.row for record in records if record.row is not None and record.row["kind"] == kind
    ]


def test_states_that_end_with_the_student_become_prompts(tmp_path: Path) -> None:
    prompts = kept(read(tmp_path), "prompt")
    assert [row["messages"] for row in prompts] == [STATES[:2], STATES[:4], STATES]
    assert {(row["domain"], row["reference"], row["group_id"]) for row in prompts} == {
        ("tutoring", None, 6000025)
    }


def test_next_turn_of_the_teacher_becomes_demonstration(tmp_path: Path) -> None:
    shown = kept(read(tmp_path), "demonstration")
    assert [(row["messages"], row["response"]) for row in shown] == [
        (STATES[:2], STATES[2]["content"]),
        (STATES[:4], STATES[4]["content"]),
    ]
    assert {(row["author"], row["domain"]) for row in shown} == {("teacher", "tutoring")}


def test_joined_turn_that_tells_the_answer_is_labelled_0(tmp_path: Path) -> None:
    labels = kept(read(tmp_path), "binary")
    assert [(row["objective"], row["label"]) for row in labels] == [
        ("not_telling", 1),
        ("not_telling", 0),
    ]
    assert [row["response"] for row in labels] == [STATES[2]["content"], STATES[4]["content"]]
    assert {(row["author"], row["annotator"]) for row in labels} == {("teacher", "mathdial")}


def test_annotations_are_valid(tmp_path: Path) -> None:
    converted = [
        interchange.rows(record.row) for record in read(tmp_path) if record.row is not None
    ]
    assert len(converted) == 3 + 2 + 2


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        ({"prompts": "first"}, {"prompt": 1, "demonstration": 2, "binary": 2}),
        ({"prompts": "none", "objectives": {}}, {"demonstration": 2}),
        ({"demonstrations": ["generic", "focus"]}, {"prompt": 3, "demonstration": 1, "binary": 2}),
        ({"demonstrations": []}, {"prompt": 3, "binary": 2}),
    ],
)
def test_annotations_are_selected_by_options(
    tmp_path: Path, options: dict[str, Any], counts: dict[str, int]
) -> None:
    assert (
        Counter(record.row["kind"] for record in read(tmp_path, options) if record.row is not None)
        == counts
    )


def test_objectives_list_the_moves_labelled_1(tmp_path: Path) -> None:
    records = read(tmp_path, {"objectives": {"hello": ["generic"], "asks": ["probing", "telling"]}})
    assert [(row["objective"], row["label"]) for row in kept(records, "binary")] == [
        ("hello", 1),
        ("asks", 0),
        ("hello", 0),
        ("asks", 1),
    ]


def test_first_student_turn_is_joined_to_the_solution(tmp_path: Path) -> None:
    first, *_ = kept(
        read(tmp_path, conversation="Student: It is 6.|EOM|Teacher: (focus)Why?"), "prompt"
    )
    assert first["messages"][1]["content"].endswith("2+3=6\n6\nIt is 6.")


@pytest.mark.parametrize(
    ("changed", "reason", "column"),
    [
        ({"qid": None}, "missing_key", "qid"),
        ({"qid": "q"}, "wrong_type", "qid"),
        ({"question": 3}, "wrong_type", "question"),
        ({"student_incorrect_solution": None}, "missing_key", "student_incorrect_solution"),
        ({"student_profile": None}, "missing_key", "student_profile"),
        ({"conversation": None}, "missing_key", "conversation"),
        ({"conversation": "Teacher: (focus)Why?|EOM|Steven: No."}, "unknown_role", "conversation"),
        ({"conversation": "Why?"}, "unknown_role", "conversation"),
        ({"conversation": "Teacher: Why?"}, "off_scale", "conversation"),
        ({"conversation": "Teacher: (scolding)Why?"}, "off_scale", "conversation"),
    ],
)
def test_invalid_dialogues_are_rejected(
    tmp_path: Path, changed: dict[str, Any], reason: str, column: str
) -> None:
    (record,) = read(tmp_path, **changed)
    assert record.rejection is not None
    assert (record.rejection.reason, record.rejection.column) == (reason, column)


def test_prompt_after_empty_teacher_turn_is_rejected(tmp_path: Path) -> None:
    records = read(tmp_path, conversation="Teacher: (probing)|EOM|Student: It is 6.")
    with pytest.raises(RowError, match="empty_prompt"):
        interchange.rows(kept(records, "prompt")[1])


@pytest.mark.parametrize(
    "options", [{"prompts": "some"}, {"demonstrations": ["scolding"]}, {"objectives": {"kind": []}}]
)
def test_invalid_options_raise(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ParamsError, match=rf"options\.{next(iter(options))}"):
        read(tmp_path, options)


def test_real_data(public_data: Callable[[str], Path]) -> None:
    """599 dialogues with 3,699 teacher turns. 96 follow another and are joined to it."""
    records = list(reader.read("mathdial", public_data("mathdial_test/test.jsonl"), {}, {}))
    assert Counter(record.row["kind"] for record in records if record.row is not None) == {
        "prompt": 3928,
        "demonstration": 3603,
        "binary": 3603,
    }
    assert all(record.row is not None and interchange.rows(record.row) for record in records)
    assert Counter(row["label"] for row in kept(records, "binary")) == {1: 3011, 0: 592}
    assert len({row["group_id"] for row in kept(records, "prompt")}) == 394
