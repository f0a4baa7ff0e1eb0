"""Concord's interchange format: one annotation per object, in any supported kind of file.

`concord.annotations.interchange` describes the keys of each kind of annotation:

    {"kind": "comparison", "group_id": "1",
     "messages": [{"role": "user", "content": "Name a colour."}], "a": "Red.", "b": "No.",
     "preferred": "a", "objective": "helpful", "annotator": "crowd"}

Makes the annotation that `kind` names. The turns may also be {from, value}, have text parts, or
have the roles human, gpt and developer.
"""

from typing import Any

from concord.annotations.dialogues import turns
from concord.annotations.interchange import ROLES
from concord.annotations.record import NoOptions as Options
from concord.annotations.shapes import Shape

SHAPES = (Shape(("kind", "messages"), extra=5),)


def annotations(row: dict[str, Any], options: Options) -> list[dict[str, Any]]:
    """Returns the row, with its turns reduced to role and content."""
    messages = row.get("messages")
    if isinstance(messages, list) and not all(map(is_plain, messages)):
        return [row | {"messages": turns(row, "messages")}]
    return [row]


def is_plain(turn: Any) -> bool:
    """Whether a turn is already {role, content} with the name of a role."""
    return (
        isinstance(turn, dict)
        and turn.get("role") in ROLES
        and isinstance(turn.get("content"), str)
        and not turn.get("tool_calls")
    )
