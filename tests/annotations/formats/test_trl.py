"""The format trl."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trl import extract_prompt

from concord.annotations import interchange, reader
from concord.annotations.formats.trl import split_prompt
from concord.annotations.record import Record, RowError
from concord.stage.errors import ParamsError

ASKED = {"role": "user", "content": "What colour is the sky?"}
BLUE, GREEN = {"role": "assistant", "content": "Blue."}, {"role": "assistant", "content": "Green."}


def read(folder: Path, row: dict[str, Any], **options: Any) -> Record:
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    (record,) = reader.read("trl", path, {"objective": "helpful", **options}, {})
    return record


PAIRS = [
    {"prompt": ASKED["content"], "chosen": "Blue.", "rejected": "Green."},
    {"prompt": [ASKED], "chosen": [BLUE], "rejected": [GREEN]},
    {"prompt": [ASKED], "chosen": "Blue.", "rejected": "Green."},
    {"prompt": ASKED["content"], "chosen": [BLUE], "rejected": [GREEN]},
    {"chosen": [ASKED, BLUE], "rejected": [ASKED, GREEN]},
    {"prompt": ASKED["content"], "chosen": [ASKED, BLUE], "rejected": [ASKED, GREEN]},
    {
        "prompt": None,
        "completion": None,
        "label": None,
        "chosen": [ASKED, BLUE],
        "rejected": [ASKED, GREEN],
    },
]


@pytest.mark.parametrize("row", PAIRS)
def test_all_forms_of_a_pair_become_the_same_comparison(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    record = read(tmp_path, row)
    assert record.row is not None
    (converted,) = interchange.rows(record.row)
    assert converted["messages"] == [ASKED]
    assert (converted["chosen"], converted["rejected"], converted["margin"]) == (
        "Blue.",
        "Green.",
        None,
    )
    assert (converted["objective"], converted["annotator"]) == ("helpful", "trl")


def test_implicit_prompt_of_text_is_the_common_prefix() -> None:
    """The space before the first difference belongs to the answers."""
    converted = split_prompt("The sky is blue.", "The sky is green.")
    assert converted == {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."}


@given(st.text("ab ", min_size=1), st.text("ab "), st.text("ab "))
def test_implicit_prompt_of_text_matches_trl(prompt: str, one: str, other: str) -> None:
    """Unless one text begins with the other, which leaves an empty answer."""
    chosen, rejected = f"{prompt}{one}", f"{prompt}{other}"
    if not chosen.startswith(rejected) and not rejected.startswith(chosen):
        assert split_prompt(chosen, rejected) == extract_prompt(
            {"chosen": chosen, "rejected": rejected}
        )


def test_implicit_prompt_of_turns_matches_trl(tmp_path: Path) -> None:
    row = {"chosen": [ASKED, GREEN, ASKED, BLUE], "rejected": [ASKED, GREEN, ASKED, GREEN]}
    record = read(tmp_path, row)
    assert record.row is not None
    assert record.row["messages"] == extract_prompt(row)["prompt"] == [ASKED, GREEN, ASKED]


def test_first_user_turn_is_the_group(tmp_path: Path) -> None:
    short = read(tmp_path, PAIRS[0]).row
    long = read(
        tmp_path, {"chosen": [ASKED, GREEN, ASKED, BLUE], "rejected": [ASKED, GREEN, ASKED, GREEN]}
    ).row
    assert short is not None
    assert long is not None
    assert short["group_id"] == long["group_id"]


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("prompt", [ASKED["content"], [ASKED]])
@pytest.mark.parametrize("completion", ["Blue.", [BLUE]])
def test_unpaired_answer_becomes_binary_label(
    tmp_path: Path, right: bool, prompt: Any, completion: Any
) -> None:
    record = read(
        tmp_path, {"prompt": prompt, "completion": completion, "label": right}, annotator="crowd"
    )
    assert record.row is not None
    (converted,) = interchange.rows(record.row)
    assert (converted["messages"], converted["response"], converted["rating"]) == (
        [ASKED],
        "Blue.",
        float(right),
    )
    assert (converted["kind"], converted["annotator"]) == ("binary", "crowd")


@pytest.mark.parametrize(
    ("given", "margin"),
    [
        ({"score_chosen": 8.5, "score_rejected": 6}, 2.5),
        ({"score_chosen": "6.5", "score_rejected": 6}, 0.5),
        ({"margin": 3, "score_chosen": 8.5, "score_rejected": 6}, 3),
        ({"chosen_score": 5, "rejected_score": 3}, 2),
        ({"chosen-rating": 5, "rejected-rating": 4.5}, 0.5),
    ],
)
def test_margin(tmp_path: Path, given: dict[str, Any], margin: float) -> None:
    record = read(tmp_path, {**PAIRS[0], **given})
    assert record.row is not None
    assert record.row["margin"] == margin


@pytest.mark.parametrize(
    ("row", "reason", "column"),
    [
        ({}, "missing_key", "chosen"),
        ({"prompt": "x", "chosen": "y"}, "missing_key", "rejected"),
        ({"prompt": 3, "chosen": "y", "rejected": "z"}, "wrong_type", "prompt"),
        ({"prompt": "x", "chosen": 3, "rejected": "z"}, "wrong_type", "chosen"),
        ({"chosen": "y", "rejected": ["z"]}, "wrong_type", "rejected"),
        ({"chosen": [ASKED, BLUE], "rejected": "z"}, "different_prompts", "rejected"),
        ({"chosen": "x y", "rejected": "x y"}, "identical_responses", "rejected"),
        ({"chosen": [ASKED, BLUE], "rejected": [GREEN, GREEN]}, "different_prompts", "rejected"),
        ({"chosen": [], "rejected": []}, "roles_do_not_alternate", "chosen"),
        ({"chosen": [ASKED, BLUE], "rejected": [ASKED]}, "roles_do_not_alternate", "rejected"),
        ({"chosen": [{"role": "user"}], "rejected": []}, "missing_key", "chosen"),
        ({**PAIRS[0], "margin": "much"}, "wrong_type", "margin"),
        ({**PAIRS[0], "margin": -1}, "contradiction", "margin"),
        ({**PAIRS[0], "score_chosen": 1}, "missing_key", "score_rejected"),
        ({**PAIRS[0], "score_chosen": 1, "score_rejected": 2}, "contradiction", "score_rejected"),
        ({"completion": "y", "label": True}, "missing_key", "prompt"),
        ({"prompt": "x", "completion": "y"}, "missing_key", "label"),
        ({"prompt": "x", "completion": "y", "label": 2}, "wrong_type", "label"),
        (
            {"prompt": "x", "completion": [ASKED], "label": True},
            "roles_do_not_alternate",
            "completion",
        ),
    ],
)
def test_invalid_rows_are_rejected(
    tmp_path: Path, row: dict[str, Any], reason: str, column: str
) -> None:
    rejection = read(tmp_path, row).rejection
    assert rejection is not None
    assert (rejection.reason, rejection.column) == (reason, column)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": "Blue.", "rejected": "Green."}, "empty_prompt"),
        (
            {"prompt": [ASKED], "chosen": [ASKED, BLUE], "rejected": [ASKED, GREEN]},
            "roles_do_not_alternate",
        ),
        ({"chosen": [BLUE], "rejected": [GREEN]}, "roles_do_not_alternate"),
    ],
)
def test_messages_are_checked_by_the_interchange_format(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    record = read(tmp_path, row)
    assert record.row is not None
    with pytest.raises(RowError, match=reason):
        interchange.rows(record.row)


def test_objective_is_required(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n", encoding="utf-8")
    with pytest.raises(ParamsError, match=r"options\.objective is missing"):
        list(reader.read("trl", path, {}, {}))
