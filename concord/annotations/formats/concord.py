"""Concord's interchange format: one annotation per object, in any supported kind of file.

`concord.annotations.interchange` describes the keys of each kind of annotation:

    {"kind": "comparison", "group_id": "1",
     "messages": [{"role": "user", "content": "Name a colour."}], "a": "Red.", "b": "No.",
     "preferred": "a", "objective": "helpful", "annotator": "crowd"}

Makes the annotation that `kind` names.
"""

from typing import Any

from concord.annotations.record import NoOptions as Options


def annotations(row: dict[str, Any], options: Options) -> list[dict[str, Any]]:
    """Returns the row unchanged."""
    return [row]
