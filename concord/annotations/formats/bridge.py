"""Bridge: what a novice tutor said to a struggling student, and how an experienced teacher would say it.

    {"c_id": "<session>_<turn>", "c_h": [{"user": "student", "text": "..."}, ...], "c_r": [{"user": "tutor", ...}],
     "c_r_": [{"user": "tutor", ...}]}

(https://github.com/rosewang2008/bridge; other keys are ignored.) A row becomes a comparison: the expert's revision
`c_r_` is preferred to the novice's reply `c_r` after the history `c_h`. The student is the user, consecutive turns of
one speaker are joined, and what the tutor says before the student's first turn is quoted there
(`concord.annotations.dialogues`). A history that is empty or does not end with the student is rejected by the common
check of roles.

The session is the group. Its turns stand in several of the files train.json, validation.json and test.json, so give
the folder as one source: files read as sources of their own would share sessions across the splits made here.

Options: `objective` (what the revision is better by; the files do not say).
"""

from collections.abc import Iterator
from typing import Any

from pydantic.dataclasses import dataclass

from concord.annotations.dialogues import clean, tutored
from concord.annotations.fields import members, short, text
from concord.annotations.record import RowError
from concord.stage.params import FORBID

ROLES = {"student": "user", "tutor": "assistant"}


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    objective: str
    """The objective that the preferences are about."""


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """The comparison of a row."""
    session, _, turn = text(row, "c_id").rpartition("_")
    if not session or not turn:
        raise RowError(
            "wrong_type", "c_id", f"must be <session>_<turn>, but is {short(row['c_id'])}"
        )
    answers = {"a": reply(row, "c_r_"), "b": reply(row, "c_r"), "preferred": "a"}
    judged = {"objective": options.objective, "annotator": "bridge"}
    yield {
        "kind": "comparison",
        "group_id": session,
        "messages": tutored(said(row, "c_h")),
        **answers,
        **judged,
    }


def reply(row: dict[str, Any], key: str) -> str:
    """What the tutor says in a list of turns, as one text."""
    spoken = said(row, key)
    if any(role != "assistant" for role, _ in spoken):
        raise RowError("unknown_role", key, "holds a turn that is not the tutor's")
    return clean("\n".join(words for _, words in spoken))


def said(row: dict[str, Any], key: str) -> list[tuple[str, str]]:
    """A list of turns as (role, words)."""
    spoken = []
    for turn in members(row, key):
        user = text(turn, "user", key)
        if user not in ROLES:
            raise RowError("unknown_role", key, f"{short(user)}; allowed: {', '.join(ROLES)}")
        spoken.append((ROLES[user], text(turn, "text", key)))
    return spoken
