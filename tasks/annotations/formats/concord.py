"""Concord's own interchange format: one annotation an object (`tasks.annotations.interchange`), in any kind of file."""

from collections.abc import Iterator
from typing import Any

from tasks.annotations.records import NoOptions as Choice


def annotations(row: dict[str, Any], choice: Choice) -> Iterator[dict[str, Any]]:
    """The row as it is."""
    yield row
