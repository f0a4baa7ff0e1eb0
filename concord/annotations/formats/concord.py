"""Concord's own interchange format: one annotation an object (`concord.annotations.interchange`), in any kind of file."""

from typing import Any

from concord.annotations.record import NoOptions as Options


def annotations(row: dict[str, Any], options: Options) -> list[dict[str, Any]]:
    """The row as it is."""
    return [row]
