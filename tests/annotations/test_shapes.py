"""Shapes of dialogues, columns and labels that all formats share."""

import json
from pathlib import Path
from typing import Any

import pytest

from concord.annotations import interchange, reader
from concord.annotations.columns import at
from concord.annotations.dialogues import turns
from concord.annotations.record import Record, RowError
from concord.annotations.transcripts import transcript
from concord.stage.errors import DataError

ASKED, GOOD = {"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello!"}
PAIR = {"prompt": "Hi.", "chosen": "Hello!", "rejected": "No."}


def read(
    folder: Path, name: str, rows: list[Any], columns: dict[str, str], **options: Any
) -> list[Record]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return list(reader.read(name, path, options, columns))


@pytest.mark.parametrize(
    "given",
    [
        [ASKED, GOOD],
        [{"from": "human", "value": "Hi."}, {"from": "gpt", "value": "Hello!"}],
        {"role": ["user", "assistant"], "content": ["Hi.", "Hello!"]},
        json.dumps([ASKED, GOOD]),
        [ASKED, {"role": "assistant", "content": [{"type": "text", "text": "Hel"}, "lo!"]}],
    ],
)
def test_every_shape_of_turns_is_the_same_dialogue(given: Any) -> None:
    assert turns({"x": given}, "x") == [ASKED, GOOD]


def test_one_turn_alone_and_developer_are_read() -> None:
    assert turns({"x": GOOD}, "x") == [GOOD]
    assert turns({"x": {"role": "developer", "content": None}}, "x") == [
        {"role": "system", "content": ""}
    ]


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        ({"role": "assistant", "content": None, "tool_calls": [{"name": "clock"}]}, "tool_turn"),
        ({"role": "tool", "content": "12:00"}, "tool_turn"),
        ({"from": "function_call", "value": "clock()"}, "tool_turn"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "wrong_type"),
        ({"role": "user", "content": None}, "missing_key"),
    ],
)
def test_turns_that_cannot_be_read_say_why(turn: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowError) as error:
        turns({"x": [turn]}, "x")
    assert error.value.rejection.reason == reason


def test_tool_turns_are_kept_as_text_by_an_option() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"name": "clock"}]}
    assert turns({"x": [call, {"role": "tool", "content": "12:00"}]}, "x", "text") == [
        {"role": "assistant", "content": '[{"name": "clock"}]'},
        {"role": "user", "content": "12:00"},
    ]


@pytest.mark.parametrize(
    "text",
    [
        "\n\nHuman: Hi.\n\nAssistant: Hello!",
        "Human: Hi.\n\nAssistant: Hello!",
        "<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi.<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>",
        "<bos><start_of_turn>user\nHi.<end_of_turn>\n<start_of_turn>model\nHello!<end_of_turn>\n",
        "<|user|>\nHi.</s>\n<|assistant|>\nHello!</s>",
    ],
)
def test_transcripts_are_split_into_turns(text: str) -> None:
    assert transcript(text, "prompt") == [ASKED, GOOD]


def test_other_templates_are_rejected_and_plain_text_is_not_a_transcript() -> None:
    with pytest.raises(RowError, match="template"):
        transcript("<s>[INST] Hi. [/INST]", "prompt")
    for text in ("Human: what is that?", "Who said: Assistant: no?", "a < b | c"):
        assert transcript(text, "prompt") is None


@pytest.mark.parametrize(
    ("row", "contents"),
    [
        ({**PAIR, "system": "Be brief."}, ["Be brief.", "Hi."]),
        ({**PAIR, "system": ""}, ["Hi."]),
        ({**PAIR, "history": [["One?", "Two."]]}, ["One?", "Two.", "Hi."]),
        ({**PAIR, "instruction": "Hi.", "input": "3"}, ["Hi.\n\n3"]),
        ({**PAIR, "tools": []}, ["Hi."]),
    ],
)
def test_context_in_other_columns_is_part_of_the_prompt(
    tmp_path: Path, row: dict[str, Any], contents: list[str]
) -> None:
    (record,) = read(tmp_path, "trl", [row], {}, objective="helpful")
    assert record.row is not None
    assert [turn["content"] for turn in record.row["messages"]] == contents


@pytest.mark.parametrize(("column", "value"), [("documents", ["A text."]), ("input", "A text.")])
def test_context_that_is_not_read_is_rejected_unless_ignored(
    tmp_path: Path, column: str, value: Any
) -> None:
    """An `input` belongs to an `instruction`; beside a `prompt` nothing says where it stood."""
    row = {**PAIR, column: value}
    (record,) = read(tmp_path, "trl", [row], {}, objective="helpful")
    assert record.rejection is not None
    assert (record.rejection.reason, record.rejection.column) == ("unused_context", column)
    (record,) = read(tmp_path, "trl", [row], {}, objective="helpful", ignore=[column])
    assert record.row is not None


def test_removed_parts_are_named(tmp_path: Path) -> None:
    row = {
        "prompt": [{"role": "system", "content": " "}, ASKED],
        "chosen": "Hello!<|im_end|>\n",
        "rejected": "No.",
    }
    (record,) = read(tmp_path, "trl", [row], {}, objective="helpful")
    assert record.row is not None
    assert (record.row["messages"], record.row["a"]) == ([ASKED], "Hello!")
    assert record.changes == ("end token of a template", "empty system turn")


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        (
            {"chosen": "winer"},
            r"columns\.chosen: no row has the column 'winer'; did you mean winner",
        ),
        ({"chosen": "winner", "margn": "gap"}, r"reads no key 'margn'; did you mean margin"),
    ],
)
def test_columns_that_fit_nothing_are_refused(
    tmp_path: Path, columns: dict[str, str], error: str
) -> None:
    row = {"prompt": "Hi.", "winner": "Hello!", "rejected": "No.", "gap": 2}
    with pytest.raises(DataError, match=error):
        read(tmp_path, "trl", [row], columns, objective="helpful")


def test_places_reach_into_objects_and_lists() -> None:
    row = {"a": {"b": [{"c": 1}, {"c": None}, {}]}}
    assert at(row, "a.b[].c") == [1, None, None]


@pytest.mark.parametrize(
    ("said", "preferred"), [("model_a", "a"), ("B", "b"), ("tie (bothbad)", "tie"), ("left", "a")]
)
def test_table_knows_common_words_for_the_winner(tmp_path: Path, said: str, preferred: str) -> None:
    row = {"prompt": "Hi.", "a": "x", "b": "y", "preferred": said}
    (record,) = read(tmp_path, "table", [row], {}, kind="comparison", prompt="prompt")
    assert record.row is not None
    assert record.row["preferred"] == preferred


@pytest.mark.parametrize("said", ["", "n/a", None, "NaN"])
def test_empty_rating_is_a_missing_label(tmp_path: Path, said: Any) -> None:
    shared = {"objective": "helpful", "annotator": "x", "scale": [1, 5]}
    row = {"prompt": "Hi.", "response": "x", "rating": said}
    (record,) = read(tmp_path, "table", [row], {}, kind="rating", prompt="prompt", constants=shared)
    assert record.row is not None
    with pytest.raises(RowError, match="no_label"):
        interchange.rows(record.row)


def test_values_translate_what_a_column_says(tmp_path: Path) -> None:
    values = {"preferred": {"0": "b", "1": "a"}, "margin": {"much": 3}}
    rows = [
        {"prompt": "Hi.", "a": "x", "b": "y", "preferred": 0, "margin": "much"},
        {"prompt": "Hi.", "a": "x", "b": "y", "preferred": 2},
    ]
    good, bad = read(tmp_path, "table", rows, {}, kind="comparison", prompt="prompt", values=values)
    assert good.row is not None
    assert (good.row["preferred"], good.row["margin"]) == ("b", 3)
    assert bad.rejection is not None
    assert bad.rejection.reason == "off_scale"


def test_equal_scores_are_a_tie(tmp_path: Path) -> None:
    row = {**PAIR, "score_chosen": 7, "score_rejected": 7.0}
    (record,) = read(tmp_path, "trl", [row], {}, objective="helpful")
    assert record.row is not None
    with pytest.raises(RowError, match="tie"):
        interchange.rows(record.row)


def test_stepwise_supervision_and_column_of_annotators(tmp_path: Path) -> None:
    steps, pair = read(
        tmp_path,
        "trl",
        [
            {"prompt": "2+3?", "completions": ["2+3", "5"], "labels": [True, None]},
            {**PAIR, "annotator": "w1"},
        ],
        {},
        objective="helpful",
    )
    assert steps.row is not None
    assert (steps.row["kind"], steps.row["labels"]) == ("steps", [1.0, None])
    assert pair.row is not None
    assert pair.row["annotator"] == "w1"
