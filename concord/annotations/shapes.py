"""What the rows of a format look like, so that `concord inspect` can name the format of a file.

A format that converts rows lists the forms of row that it reads in `SHAPES`. A format that reads a
folder of related files lists their names in `FOLDER`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from concord.annotations.columns import MISSING, at

Row = Mapping[str, Any]
Options = Mapping[str, Any]
OBJECTIVE = "overall"
"""Name of an objective that a file does not name."""
DOMAIN = "general"
"""Name of a domain that a file does not name."""


class Shape(NamedTuple):
    """One form of row."""

    keys: tuple[str, ...]
    """Paths of `concord.annotations.columns` that a row of this form has; values may be null."""
    options: Options | Callable[[Sequence[Row]], Options] = {}  # noqa: RUF012
    """The options to read such rows with, or a function that derives them from rows."""
    holds: Callable[[Row], bool] | None = None
    """A further condition on the values of a row, for keys that other formats have too."""
    extra: int = 0
    """Added to the weight of a form whose values are particular."""
    also: tuple[str, ...] = ()
    """Keys that are read if a row has them."""

    def matches(self, row: Row) -> bool:
        """Whether a row has this form."""
        if any(at(row, key) is MISSING for key in self.keys):
            return False
        return self.holds is None or self.holds(row)

    def weight(self) -> int:
        """How particular the form is. Of several that fit, the one with most weight is chosen."""
        return len(self.keys) + self.extra

    def options_for(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The options to read these rows with."""
        return dict(self.options(rows) if callable(self.options) else self.options)


def is_text(row: Row, key: str) -> bool:
    """Whether a row holds text under `key`."""
    return isinstance(row.get(key), str)


def is_texts(row: Row, key: str) -> bool:
    """Whether a row holds a list of texts under `key`."""
    value = row.get(key)
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)
