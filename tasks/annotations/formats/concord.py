"""Concord's own interchange format: one annotation an object (`tasks.annotations.interchange`), in any kind of file."""

from typing import Any

from tasks.annotations.records import NoOptions as Choice


def annotations(row: dict[str, Any], choice: Choice) -> list[dict[str, Any]]:
    """The row as it is."""
    return [row]
