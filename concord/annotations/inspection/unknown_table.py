"""A table whose columns have yet to be understood: names, values, and which of them are taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from concord.annotations import meanings
from concord.annotations.columns import MISSING, at
from concord.annotations.dialogues import SPEAKERS, TURN_LIST
from concord.annotations.fields import NUMBER, is_empty
from concord.annotations.inspection.names import column_for
from concord.annotations.shapes import Row

MOST = 12
"""More distinct values than this are not the values of a label."""


class Table:
    """The rows of a table, and which of its columns are taken."""

    def __init__(self, rows: Sequence[Row], columns: Sequence[str]) -> None:
        self.rows, self.columns = rows, columns
        self.taken: dict[str, str] = {}
        """Key of the interchange format -> column."""

    def free(self) -> list[str]:
        """The columns that are not taken."""
        return [column for column in self.columns if column not in self.taken.values()]

    def find(self, key: str) -> str | None:
        """Takes the column that is likely meant by `key`."""
        column = column_for(key, self.columns, self.taken.values())
        if column is not None:
            self.taken[key] = column
        return column

    def values(self, column: str) -> list[Any]:
        """The values of a column that are not empty."""
        values = (at(row, column) for row in self.rows)
        return [value for value in values if value is not MISSING and not is_empty(value)]

    def distinct(self, column: str) -> list[str]:
        """The distinct values, or items of lists, as text, sorted; empty if they are too many."""
        values = flat(self.values(column))
        said = {text_of(value) for value in values if not isinstance(value, list | dict)}
        return sorted(said) if len(said) <= MOST else []


def flat(values: Sequence[Any]) -> list[Any]:
    """The values, with the items of lists in place of the lists."""
    lists = (value if isinstance(value, list) else [value] for value in values)
    return [item for items in lists for item in items]


def leaves(rows: Sequence[Row], depth: int = 3) -> list[str]:
    """The columns, and the paths of what objects in them hold.

    Examples:
        >>> leaves([{"id": 1, "input": {"prompt": "Why?"}}])
        ['id', 'input.prompt']
    """
    names: dict[str, None] = {}
    for row in rows:
        for name, value in row.items():
            if isinstance(value, dict) and value and depth > 1:
                names |= dict.fromkeys(f"{name}.{path}" for path in leaves([value], depth - 1))
            else:
                names[name] = None
    return list(names)


def text_of(value: Any) -> str:
    """A value as text; whole numbers have no decimal point."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def is_turns(value: Any) -> bool:
    """Whether a value is a list of turns, possibly as JSON text."""
    if isinstance(value, str):
        return TURN_LIST.match(value) is not None
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and not first.keys().isdisjoint(SPEAKERS)


def holds_text(table: Table, column: str) -> bool:
    """Whether a column holds text, not only numbers."""
    values = table.values(column)
    return all(isinstance(value, str) for value in values) and any(
        not NUMBER.fullmatch(value) for value in values
    )


def holds_lists(table: Table, column: str) -> bool:
    """Whether a column holds lists, possibly as JSON text."""
    values = table.values(column)
    return bool(values) and all(
        isinstance(value, list) or (isinstance(value, str) and value.lstrip().startswith("["))
        for value in values
    )


def holds_objects(table: Table, column: str) -> bool:
    """Whether a column holds lists or objects."""
    return any(isinstance(value, list | dict) for value in table.values(column))


def looks_like_data(columns: Sequence[str]) -> bool:
    """Whether the names of the columns look like values, as in a file without a header."""
    return any(
        NUMBER.fullmatch(name) or len(name) > 60 or not meanings.plain(name) for name in columns
    )
