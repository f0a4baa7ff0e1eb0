"""Dialogues: turns out of objects, groups, and a tutor's dialogue, told as MRBench tells it."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.annotations.dialogues import OPENING, SYSTEM, group, turns, tutored
from concord.annotations.formats import mrbench
from concord.annotations.record import RowError

ROLES = {"Student": "user", "Tutor": "assistant"}


def test_turns_keep_role_and_content_alone() -> None:
    said = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello!"}]
    assert turns({"chosen": [{**turn, "name": None} for turn in said]}, "chosen") == said


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
def test_what_is_no_list_of_turns_is_told_under_its_key(
    record: Mapping[str, Any], reason: str
) -> None:
    with pytest.raises(RowError) as error:
        turns(record, "chosen")
    assert (error.value.rejection.reason, error.value.rejection.column) == (reason, "chosen")


def test_one_dialogue_is_one_group_wherever_it_is_cut_off() -> None:
    asked = {"role": "user", "content": "Hi."}
    later = [
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Name a colour."},
    ]
    assert group([asked]) == group([{"role": "system", "content": "Be brief."}, asked, *later])
    assert group([asked]) != group(later)


def test_turns_are_joined_and_the_opening_is_quoted() -> None:
    said = [
        ("assistant", "Hello. "),
        ("assistant", "2+3?"),
        ("user", "\xa06"),
        ("user", ""),
        ("assistant", "Sure?"),
    ]
    assert tutored(said) == [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": OPENING.format("Hello.\n2+3?", "6")},
        {"role": "assistant", "content": "Sure?"},
    ]


@given(
    st.lists(st.tuples(st.sampled_from(["Tutor", "Student"]), st.text("ab 3?\n\xa0", min_size=1)))
)
def test_a_dialogue_is_told_as_mrbench_tells_it(said: list[tuple[str, str]]) -> None:
    """So that a dialogue which stands in MRBench and in its own source as well is found to be the same prompt."""
    transcript = "\n".join(f"{speaker}: {words}" for speaker, words in said)
    assert mrbench.messages(transcript) == tutored(
        (ROLES[speaker], words) for speaker, words in said
    )
