"""Bridge: a novice tutor's reply to a struggling student, and an experienced teacher's revision.

Reads the files of https://github.com/rosewang2008/bridge; other keys are ignored:

    {"c_id": "<session>_<turn>", "c_h": [{"user": "student", "text": "..."}, ...],
     "c_r": [{"user": "tutor", "text": "..."}], "c_r_": [{"user": "tutor", "text": "..."}]}

Makes one comparison per row: after the history `c_h`, the teacher's revision `c_r_` is preferred to
the novice's reply `c_r`. The student is the user. Consecutive turns of one speaker are joined, and
tutor turns before the first student turn are quoted in it. A history that is empty or does not end
with the student is rejected.

The session is the group. Turns of one session appear in more than one of train.json,
validation.json and test.json. Give the folder as one source, so that a session is not divided
between splits.

Options:
- `objective`: the objective of the preferences. The files do not name one. Required.
"""

from collections.abc import Iterator
from typing import Any

from pydantic.dataclasses import dataclass

from concord.annotations.dialogues import clean_text, tutor_prompt
from concord.annotations.fields import mappings, shorten, text
from concord.annotations.record import RowError
from concord.annotations.shapes import OBJECTIVE, Shape
from concord.stage.params import FORBID

ROLES = {"student": "user", "tutor": "assistant"}
SHAPES = (Shape(("c_id", "c_h", "c_r", "c_r_"), {"objective": OBJECTIVE}),)


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    objective: str
    """The objective of the preferences. The files do not name one."""


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """Yields the comparison of a row."""
    session, _, turn = text(row, "c_id").rpartition("_")
    if not session or not turn:
        raise RowError(
            "wrong_type", "c_id", f"must be <session>_<turn>, but is {shorten(row['c_id'])}"
        )
    revision, reply = tutor_text(row, "c_r_"), tutor_text(row, "c_r")
    yield {
        "kind": "comparison",
        "group_id": session,
        "messages": tutor_prompt(turns(row, "c_h")),
        "a": revision,
        "b": reply,
        "preferred": "a",
        "objective": options.objective,
        "annotator": "bridge",
    }


def tutor_text(row: dict[str, Any], key: str) -> str:
    """The tutor's turns under `key`, joined."""
    replies = turns(row, key)
    if any(role != "assistant" for role, _ in replies):
        raise RowError("unknown_role", key, "contains a turn that is not the tutor's")
    return clean_text("\n".join(words for _, words in replies))


def turns(row: dict[str, Any], key: str) -> list[tuple[str, str]]:
    """The turns under `key` as pairs (role, content)."""
    pairs = []
    for turn in mappings(row, key):
        speaker = text(turn, "user", key)
        if speaker not in ROLES:
            raise RowError("unknown_role", key, f"{shorten(speaker)}; allowed: {', '.join(ROLES)}")
        pairs.append((ROLES[speaker], text(turn, "text", key)))
    return pairs
