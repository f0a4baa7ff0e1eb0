"""Dialogues: chat turns, groups and the prompts of a tutor."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.annotations.dialogues import (
    OPENING,
    SYSTEM,
    group_id,
    spoken,
    turns,
    tutor_prompt,
)
from concord.annotations.formats import mrbench
from concord.annotations.record import RowError

ROLES = {"Student": "user", "Tutor": "assistant"}


def test_turns_keep_only_role_and_content() -> None:
    messages = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello!"}]
    assert turns({"chosen": [{**turn, "name": None} for turn in messages]}, "chosen") == messages


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({}, "missing_key"),
        ({"chosen": "Hi."}, "wrong_type"),
        ({"chosen": ["Hi."]}, "wrong_type"),
        ({"chosen": [{"role": "user"}]}, "missing_key"),
        ({"chosen": [{"role": 1, "content": "Hi."}]}, "wrong_type"),
        ({"chosen": [{"role": "user", "content": "\ud800"}]}, "not_utf8"),
    ],
)
def test_invalid_turns_raise_with_their_key(record: Mapping[str, Any], reason: str) -> None:
    with pytest.raises(RowError) as error:
        turns(record, "chosen")
    assert (error.value.rejection.reason, error.value.rejection.column) == (reason, "chosen")


def test_truncated_dialogues_are_one_group() -> None:
    first = {"role": "user", "content": "Hi."}
    later = [
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Name a colour."},
    ]
    assert group_id([first]) == group_id(
        [{"role": "system", "content": "Be brief."}, first, *later]
    )
    assert group_id([first]) != group_id(later)


def test_turns_are_joined_and_the_opening_is_quoted() -> None:
    dialogue = [
        ("assistant", "Hello. "),
        ("assistant", "2+3?"),
        ("user", "\xa06"),
        ("user", ""),
        ("assistant", "Sure?"),
    ]
    assert tutor_prompt(dialogue) == [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": OPENING.format("Hello.\n2+3?", "6")},
        {"role": "assistant", "content": "Sure?"},
    ]


@given(
    st.lists(st.tuples(st.sampled_from(["Tutor", "Student"]), st.text("ab 3?\n\xa0", min_size=1)))
)
def test_tutor_prompt_matches_mrbench(dialogue: list[tuple[str, str]]) -> None:
    """So a dialogue in both MRBench and its original source becomes the same prompt."""
    transcript = "\n".join(f"{speaker}: {words}" for speaker, words in dialogue)
    assert mrbench.messages(transcript) == tutor_prompt(
        (ROLES[speaker], words) for speaker, words in dialogue
    )


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("User: Hi.\nAssistant:", ["user"]),
        ("Human: Hi.\nAssistant: Hello.\nHuman: Why?\nAssistant:", ["user", "assistant", "user"]),
        ("Be brief. USER: Hi. ASSISTANT:", ["system", "user"]),
        ("[{'role': 'user', 'content': \"it's 2\"}]", ["user"]),
        ('{"role": "user", "content": "Hi."}', ["user"]),
    ],
)
def test_dialogues_in_one_text_are_split(text: str, roles: list[str]) -> None:
    assert [turn["role"] for turn in spoken({"prompt": text}, "prompt")] == roles


@pytest.mark.parametrize(
    "text",
    [
        "User: what does this word mean?",
        "Assistant: is this a job title?",
        "What does the USER: field mean?",
        "Explain [{'a': 1}] in Python.",
    ],
)
def test_text_that_is_no_dialogue_is_one_turn(text: str) -> None:
    assert spoken({"prompt": text}, "prompt") == [{"role": "user", "content": text}]


def test_turns_that_are_cut_off_in_a_text_are_rejected() -> None:
    with pytest.raises(RowError, match="must be JSON"):
        spoken({"prompt": "[{'role': 'user', 'content': 'it"}, "prompt")
