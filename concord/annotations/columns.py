"""The `columns` of a source: keys that a format reads -> where the source holds them.

A path is the name of a column, or leads into nested objects (`reward_model.ground_truth`) or
through a list (`answers[].rank`), which gives the list of these values.
"""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from concord.annotations.fields import listed, structure
from concord.annotations.record import Record, RowError
from concord.stage.errors import DataError
from concord.stage.params import suggest

Columns = Mapping[str, str]
MISSING = object()
EACH = "[]"
SHOWN = 40
"""Number of column names that an error lists."""
WATCHED = 1000
"""Number of rows of which it is noted which columns they have and which are read."""


class Watched(dict[str, Any]):
    """A row that notes which of its keys are read."""

    def __init__(self, row: Mapping[str, Any], seen: set[str]) -> None:
        super().__init__(row)
        self.seen = seen

    def get(self, key: str, default: Any = None) -> Any:
        self.seen.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self.seen.add(key)
        return super().__getitem__(key)

    def __or__(self, other: Mapping[str, Any]) -> "Watched":  # type: ignore[override]
        return Watched({**self, **other}, self.seen)

    def __contains__(self, key: object) -> bool:
        self.seen.add(str(key))
        return super().__contains__(key)


class Renamed:
    """Renames the columns of each row, and notes what no row has and what no format reads."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.names: dict[str, None] = {}
        self.found_keys: set[str] = set()
        self.read_keys: set[str] = set()
        self.rows = 0
        self.is_any_valid = False

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with each renamed column under the key that the format reads.

        A column that this row lacks is null.
        """
        self.rows += 1
        is_watched = self.rows <= WATCHED
        if is_watched:
            self.names.update(dict.fromkeys(row))
        if self.columns:
            row = self._renamed(row)
            is_watched = is_watched or not self.columns.keys() <= self.read_keys
        return Watched(row, self.read_keys) if is_watched else row

    def _renamed(self, row: dict[str, Any]) -> dict[str, Any]:
        renamed = {**row}
        for key, path in self.columns.items():
            value = at(row, path)
            if value is MISSING:
                renamed[key] = None
            else:
                self.found_keys.add(key)
                renamed[key] = value
        return renamed

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        """The records; notes whether any is valid."""
        for record in records:
            self.is_any_valid = self.is_any_valid or record.row is not None
            yield record

    def check(self, records: Iterable[Record]) -> Iterator[Record]:
        """The records; after the last one, raises DataError for a name that fits no row."""
        yield from self.watch(records)
        self.require()

    def require(self) -> None:
        """Raises DataError for a name that fits no row. To be called after the last record."""
        for key, path in self.columns.items() if self.rows else ():
            if key not in self.found_keys:
                raise no_column(key, path, self.names)
            # A row that is rejected may be rejected before all of its keys are read.
            if self.is_any_valid and key not in self.read_keys:
                raise DataError(
                    f"columns.{key}: the format reads no key {key!r}; "
                    f"{suggest(key, sorted(self.read_keys))}"
                )

    def notes(self) -> dict[str, Any]:
        """What was noted, as JSON, for `include`."""
        return {
            "names": [*self.names],
            "found": sorted(self.found_keys),
            "read": sorted(self.read_keys),
            "rows": self.rows,
            "valid": self.is_any_valid,
        }

    def include(self, notes: Mapping[str, Any]) -> None:
        """Adds what was noted about another file of the source."""
        self.names.update(dict.fromkeys(notes["names"]))
        self.found_keys.update(notes["found"])
        self.read_keys.update(notes["read"])
        self.rows += notes["rows"]
        self.is_any_valid = self.is_any_valid or notes["valid"]

    def unused(self) -> list[str]:
        """The columns of the first rows that the format did not read."""
        renamed = {key: path for key, path in self.columns.items() if key in self.read_keys}
        used = {path.partition(".")[0].removesuffix(EACH) for path in renamed.values()}
        used |= {*renamed.values(), *(self.read_keys - renamed.keys())}
        return [name for name in self.names if name not in used]


def require_columns(columns: Columns, records: Iterable[Record]) -> None:
    """Raises DataError if a column that `columns` names is in no row.

    Reading stops at the row in which the last of them is found.
    """
    missing, names = dict(columns), dict[str, None]()
    if not missing:
        return
    for record in records:
        if record.row is None:
            continue
        if len(names) < SHOWN:
            names.update(dict.fromkeys(record.row))
        missing = {key: path for key, path in missing.items() if at(record.row, path) is MISSING}
        if not missing:
            return
    if names:
        raise no_column(*next(iter(missing.items())), names)


def no_column(key: str, path: str, names: Iterable[str]) -> DataError:
    """The error for a column that no row has."""
    return DataError(f"columns.{key}: no row has the column {path!r}; {nearest(path, names)}")


def nearest(name: str, names: Iterable[str]) -> str:
    """The column whose name is nearest, and all columns.

    Examples:
        >>> nearest("promt", ["prompt", "answer"])
        'did you mean prompt? The columns are: prompt, answer'
    """
    shown = list(names)[:SHOWN]
    close = get_close_matches(name, shown, n=1)
    start = f"did you mean {close[0]}? The" if close else "the"
    return f"{start} columns are: {', '.join(shown)}"


def at(row: Any, path: str) -> Any:
    """The value at a path of a row, or MISSING.

    Examples:
        >>> at({"answers": [{"rank": 1}, {"rank": 2}]}, "answers[].rank")
        [1, 2]
        >>> at({"a.b": 1, "a": {"b": 2}}, "a.b"), at({"a": '{"b": 2}'}, "a.b")
        (1, 2)
    """
    if isinstance(row, dict) and path in row:
        return row[path]
    head, _, tail = path.partition(".")
    name = head.removesuffix(EACH)
    if not isinstance(row, dict) or name not in row or (not tail and name == head):
        return MISSING
    try:
        value = structure(row[name], name)
    except RowError:
        return MISSING
    if name == head:
        return at(value, tail)
    value = listed(value)
    if not isinstance(value, list):
        return MISSING
    values = [at(item, tail) for item in value] if tail else value
    return [None if item is MISSING else item for item in values]
