"""Formats of published data sets and annotation tools: one row of each shape, in our own words."""

import json
from pathlib import Path
from typing import Any

import pytest

from concord.annotations import interchange, reader
from concord.annotations.record import Record, RowError

ASKED = [{"role": "user", "content": "Name a colour."}]
BLUE, RED = {"role": "assistant", "content": "Blue."}, {"role": "assistant", "content": "Red."}
HUMAN, GPT = {"from": "human", "value": "Name a colour."}, {"from": "gpt", "value": "Blue."}


def read(
    folder: Path, name: str, row: dict[str, Any], columns: dict[str, str], **options: Any
) -> list[Record]:
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return list(reader.read(name, path, options, columns))


def outcome(record: Record) -> tuple[Any, ...]:
    """The reason of a rejection, or kind, objective, annotator, answers and label."""
    if record.row is None:
        assert record.rejection is not None
        return (record.rejection.reason,)
    try:
        rows = interchange.rows(record.row)
    except RowError as error:
        return (error.rejection.reason,)
    assert rows[0]["messages"] == ASKED
    kind, first = record.row["kind"], rows[0]
    who = (first.get("objective"), first.get("annotator"))
    if kind == "comparison":
        return (kind, *who, first["chosen"], first["rejected"], first["margin"])
    if kind == "ranking":
        return (kind, *who, {row["response"]: row["rating"] for row in rows})
    if kind in ("prompt", "demonstration"):
        return (kind, first["domain"], first.get("response", first.get("reference")))
    return (kind, *who, first["response"], first["rating"])


SAFE = {
    "prompt": "Name a colour.",
    "response_0": "Blue.",
    "response_1": "Red.",
    "is_response_0_safe": True,
    "is_response_1_safe": False,
    "better_response_id": 1,
    "safer_response_id": 0,
}
PERSON = {
    "evaluator": "p1",
    "helpful_pref": "B-is-slightly-better",
    "truthful_pref": "Tie",
    "harmless_pref": "A-is-clearly-better",
}
MULTIPREF = {
    "text": "Name a colour.",
    "completion_a": "Blue.",
    "completion_b": "Red.",
    "normal_worker_annotations": [PERSON],
    "expert_worker_annotations": [{**PERSON, "evaluator": "p2", "helpful_pref": "so so"}],
}
ARENA = {"conversation_a": [*ASKED, BLUE], "conversation_b": [*ASKED, RED], "judge": "u1"}
ARENA_55K = {
    "prompt": '["Name a colour."]',
    "response_a": '["Blue."]',
    "response_b": '["Red."]',
    "winner_model_a": 0,
    "winner_model_b": 1,
    "winner_tie": 0,
}
STUDIO = {
    "data": {"prompt": "Name a colour.", "answer1": "Blue.", "answer2": "Red."},
    "annotations": [
        {
            "completed_by": 7,
            "was_cancelled": False,
            "result": [{"from_name": "cmp", "type": "pairwise", "value": {"selected": "right"}}],
        },
        {"completed_by": 8, "was_cancelled": True, "result": []},
    ],
}
ARGILLA = {
    "prompt": "Name a colour.",
    "completion": "Blue.",
    "good.responses": [4, 2, None],
    "good.responses.status": ["submitted", "discarded", "submitted"],
    "good.responses.users": ["p1", "p2", "p3"],
}
PART = {"type": "text", "text": "Blue.", "image": None, "mimeType": None}
HELPSTEER = {"context": ASKED, "domain": "general"}
CASES: list[tuple[str, dict[str, Any], dict[str, Any], list[tuple[Any, ...]]]] = [
    (
        "pku_saferlhf",
        SAFE,
        {},
        [
            ("comparison", "helpful", "pku", "Red.", "Blue.", None),
            ("comparison", "harmless", "pku", "Blue.", "Red.", None),
            ("binary", "safe", "pku", "Blue.", 1.0),
            ("binary", "safe", "pku", "Red.", 0.0),
        ],
    ),
    (
        "pku_saferlhf",
        {"prompt": "Name a colour.", "response": "Blue.", "is_safe": False},
        {},
        [("binary", "safe", "pku", "Blue.", 0.0)],
    ),
    (
        "pku_saferlhf",
        {**SAFE, "better_response_id": -1},
        {"safe": None, "safer": None},
        [("no_label",)],
    ),
    (
        "multipref",
        MULTIPREF,
        {},
        [
            ("comparison", "helpful", "normal/p1", "Red.", "Blue.", 1.0),
            ("tie",),
            ("comparison", "harmless", "normal/p1", "Blue.", "Red.", 2.0),
            ("off_scale",),
            ("tie",),
            ("comparison", "harmless", "expert/p2", "Blue.", "Red.", 2.0),
        ],
    ),
    (
        "chatbot_arena",
        {**ARENA, "winner": "model_b"},
        {},
        [("comparison", "overall", "u1", "Red.", "Blue.", None)],
    ),
    ("chatbot_arena", {**ARENA, "winner": "tie"}, {}, [("tie",)]),
    ("chatbot_arena", {**ARENA, "winner": "tie (bothbad)"}, {}, [("tie",)]),
    ("chatbot_arena", {**ARENA, "winner": "me"}, {}, [("off_scale",)]),
    (
        "chatbot_arena",
        {**ARENA, "conversation_b": [RED, *ASKED, RED], "winner": "model_a"},
        {},
        [("different_prompts",)],
    ),
    ("chatbot_arena", ARENA_55K, {}, [("comparison", "overall", "arena", "Red.", "Blue.", None)]),
    (
        "nectar",
        {
            "prompt": "\n\nHuman: Name a colour.\n\nAssistant: ",
            "answers": [{"answer": "Blue.", "rank": 1.0}, {"answer": "Red.", "rank": 2.0}],
        },
        {},
        [("ranking", "overall", "gpt-4", {"Blue.": 1.0, "Red.": 0.0})],
    ),
    (
        "alpaca",
        {"instruction": "Name a colour.", "input": "", "output": "Blue."},
        {"domain": "values"},
        [("demonstration", "values", "Blue.")],
    ),
    (
        "alpaca",
        {"instruction": "Name a colour.", "chosen": "Blue.", "rejected": "Red."},
        {"objective": "helpful"},
        [("comparison", "helpful", "alpaca", "Blue.", "Red.", None)],
    ),
    ("messages", {"messages": [*ASKED, BLUE]}, {"domain": "v"}, [("demonstration", "v", "Blue.")]),
    (
        "messages",
        {"conversations": [HUMAN, GPT]},
        {"domain": "v"},
        [("demonstration", "v", "Blue.")],
    ),
    (
        "messages",
        {"messages": [*ASKED, {**BLUE, "weight": 0}]},
        {"domain": "v"},
        [("left_out",)],
    ),
    ("messages", {"messages": [*ASKED, BLUE]}, {"objective": "helpful"}, [("missing_key",)]),
    *(
        (
            "messages",
            row,
            {"objective": "helpful"},
            [("comparison", "helpful", "unknown", "Blue.", "Red.", None)],
        )
        for row in (
            {
                "input": {"messages": ASKED},
                "preferred_output": [BLUE],
                "non_preferred_output": [RED],
            },
            {"conversations": [HUMAN], "chosen": GPT, "rejected": {"from": "gpt", "value": "Red."}},
            {"messages": [*ASKED, BLUE], "rejected_response": "Red."},
            {"query": "Name a colour.", "response": "Blue.", "rejected_response": "Red."},
        )
    ),
    (
        "verl",
        {"prompt": ASKED, "ability": "math", "reward_model": {"ground_truth": "1"}},
        {},
        [("prompt", "math", "1")],
    ),
    ("verl", {"prompt": ASKED, "ability": "math", "reward_model": {}}, {}, [("missing_key",)]),
    (
        "argilla",
        ARGILLA,
        {"question": "good"},
        [("rating", "good", "p1", "Blue.", 0.75), ("left_out",), ("no_label",)],
    ),
    (
        "label_studio",
        STUDIO,
        {"objectives": {"helpful": "cmp"}},
        [("comparison", "helpful", "7", "Red.", "Blue.", None), ("left_out",)],
    ),
    (
        "rewardbench2",
        {"prompt": "Name a colour.", "chosen": ["Blue."], "rejected": ["Red."], "subset": "Focus"},
        {},
        [("comparison", "overall", "rewardbench2", "Blue.", "Red.", None)],
    ),
    (
        "prism",
        {
            "user_id": "user1",
            "turn": 0,
            "user_prompt": "Name a colour.",
            "model_response": "Blue.",
            "model_name": "m",
            "score": 100,
        },
        {},
        [("rating", "overall", "user1", "Blue.", 1.0)],
    ),
    (
        "helpsteer",
        {
            "prompt": "Name a colour.",
            "response_1": "Blue.",
            "response_2": "Red.",
            "preference_strength": -2,
        },
        {},
        [("comparison", "overall", "helpsteer", "Blue.", "Red.", 2.0)],
    ),
    (
        "helpsteer",
        {
            **HELPSTEER,
            "response1": "Blue.",
            "response2": "Red.",
            "overall_preference": 0,
            "individual_preference": [{"score": -1}, {"score": 2}],
        },
        {"individual": True},
        [
            ("comparison", "overall", "helpsteer_1", "Blue.", "Red.", 1.0),
            ("comparison", "overall", "helpsteer_2", "Red.", "Blue.", 2.0),
        ],
    ),
    (
        "helpsteer",
        {**HELPSTEER, "original_response": "Red.", "edited_response": "Blue."},
        {},
        [("comparison", "overall", "helpsteer_edit", "Blue.", "Red.", None)],
    ),
    ("helpsteer", {**HELPSTEER, "response": "Red.", "feedback": ["Short."]}, {}, [("left_out",)]),
    (
        "helpsteer",
        {
            **HELPSTEER,
            "response1": "Blue.",
            "response2": "Red.",
            "overall_preference": -1,
            "individual_preference": [-3, {"overall_preference": 1}, {"reasoning": "Short."}],
        },
        {"individual": True},
        [
            ("comparison", "overall", "helpsteer_1", "Blue.", "Red.", 3.0),
            ("comparison", "overall", "helpsteer_2", "Red.", "Blue.", 1.0),
            ("missing_key",),
        ],
    ),
    (
        "chatbot_arena",
        {
            "conversation_a": [*ASKED, {"role": "assistant", "content": [PART]}],
            "conversation_b": [*ASKED, RED],
            "winner": "model_a",
            "evaluation_session_id": "s1",
        },
        {},
        [("comparison", "overall", "s1", "Blue.", "Red.", None)],
    ),
]


@pytest.mark.parametrize(("name", "row", "options", "wanted"), CASES)
def test_rows_are_read_for_what_they_say(
    tmp_path: Path,
    name: str,
    row: dict[str, Any],
    options: dict[str, Any],
    wanted: list[tuple[Any, ...]],
) -> None:
    assert [outcome(record) for record in read(tmp_path, name, row, {}, **options)] == wanted


def test_columns_rename_keys_of_every_published_format(tmp_path: Path) -> None:
    """The next version of a data set calls the prompt something else."""
    row = {("question" if key == "prompt" else key): value for key, value in SAFE.items()}
    records = read(tmp_path, "pku_saferlhf", row, {"prompt": "question"})
    assert [outcome(record)[0] for record in records] == [
        "comparison", "comparison", "binary", "binary"
    ]  # fmt: skip


def test_prism_reads_every_turn_of_a_conversation(tmp_path: Path) -> None:
    """The prompt of the second turn holds the answer that was chosen in the first one."""
    history = [
        {"turn": 0, "role": "user", "content": "Hi."},
        {"turn": 0, "role": "model", "content": "Hello.", "score": 100, "if_chosen": True},
        {"turn": 0, "role": "model", "content": "What?", "score": 1, "if_chosen": False},
        {"turn": 1, "role": "user", "content": "Bye."},
        {"turn": 1, "role": "model", "content": "Ciao.", "score": None, "if_chosen": True},
        {"turn": 2, "role": "user", "content": "Wait."},
        {"turn": 2, "role": "model", "content": "Yes?", "score": 50.5, "if_chosen": False},
        {"turn": 3, "role": "user", "content": "Lost."},
    ]
    row = {"conversation_id": "c1", "user_id": "u1", "conversation_history": history}
    records = read(tmp_path, "prism", row, {})
    reasons = [record.rejection and record.rejection.reason for record in records]
    assert reasons == [None, None, "no_label", None, "left_out"]
    rated = [interchange.rows(record.row)[0] for record in records if record.row is not None]
    assert [row["rating"] for row in rated] == [1.0, 0.0, 0.5]
    assert [turn["content"] for turn in rated[2]["messages"]] == [
        "Hi.", "Hello.", "Bye.", "Ciao.", "Wait."
    ]  # fmt: skip
    assert {row["annotator"] for row in rated} == {"u1"}


def test_text_for_language_modelling_is_read_if_it_is_a_dialogue(tmp_path: Path) -> None:
    options = {"objective": "x", "domain": "v"}
    row = {"text": "<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>"}
    (record,) = read(tmp_path, "trl", row, {}, **options)
    assert record.row is not None
    assert (record.row["kind"], record.row["response"]) == ("demonstration", "Yes.")
    (record,) = read(tmp_path, "trl", {"text": "Once upon a time."}, {}, **options)
    assert record.rejection is not None
    assert "plain text, without a prompt and an answer" in record.rejection.detail


@pytest.mark.parametrize(
    ("name", "row", "options"),
    [
        ("alpaca", {"instruction": "Hi.", "chosen": [], "rejected": []}, {"objective": "x"}),
        ("messages", {"messages": []}, {"domain": "v"}),
        ("messages", {"messages": [], "rejected_response": "No."}, {"objective": "x"}),
        ("prism", {"user_id": "u1", "conversation_history": []}, {}),
    ],
)
def test_empty_dialogues_are_rejected(
    tmp_path: Path, name: str, row: dict[str, Any], options: dict[str, Any]
) -> None:
    (record,) = read(tmp_path, name, row, {}, **options)
    assert record.rejection is not None
