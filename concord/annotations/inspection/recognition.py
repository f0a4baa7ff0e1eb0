"""Which format a file is in, by the keys of its first rows.

The forms of row that each format lists (`concord.annotations.shapes`) are compared with the rows.
A form whose keys have other names in the file is tried with `columns`, and a plain table with the
likeliest meaning of its columns. Whatever fits is tried: it must read some of the rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from concord.annotations import interchange, reader
from concord.annotations.columns import EACH
from concord.annotations.inspection import table_guess
from concord.annotations.inspection.names import column_for
from concord.annotations.quarantine import NO_FAULT
from concord.annotations.record import Record, RowError
from concord.annotations.shapes import Row, Shape
from concord.stage import plugins
from concord.stage.errors import ConcordError

TABLE = "table"
ALMOST = 0.3
"""A more particular form is preferred if it reads at least this share of what another one reads."""
HALF = 0.5
MOST_GUESSED = 4
"""The weight of a guess is at most this."""
LEAST_KEYS = 2
"""A form is recognised under other names only if at least this many of its keys are there."""


@dataclass(frozen=True)
class Way:
    """One way to read a file."""

    format: str
    options: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    """The keys by which the format was recognised."""
    weight: int = 0
    """How particular these keys are."""
    read: float = 1.0
    """Share of the first rows that can be read this way."""
    guessed: tuple[str, ...] = ()
    """What was guessed, in words."""


class Nearest(NamedTuple):
    """The known form of row that is nearest to rows that fit none."""

    format: str
    present: tuple[str, ...]
    missing: tuple[str, ...]


def ways_to_read(rows: Sequence[Row]) -> list[Way]:
    """All ways to read these rows, the best one first."""
    tried = [tested(way, rows) for way in proposals(rows)]
    fitting = [way for way in tried if way.read > 0 or not way.guessed]
    most = max((way.read for way in fitting), default=0.0)
    heaviest = max((way.weight for way in tried), default=0)

    def rank(way: Way) -> tuple[bool, int, bool, int, float]:
        is_exact = not way.guessed
        is_good = way.read >= ALMOST * most or (is_exact and way.weight == heaviest)
        return (is_good, way.weight, is_exact, -len(way.columns), way.read)

    best: dict[str, Way] = {}
    for way in sorted(fitting, key=rank, reverse=True):
        best.setdefault(way.format, way)
    return list(best.values())


def proposals(rows: Sequence[Row]) -> Iterator[Way]:
    """Ways to read these rows that their keys suggest."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for name, shape in all_shapes():
        matching = [row for row in rows if shape.matches(row)]
        options = shape.options_for(matching) if matching else {}
        if matching:
            also = renamed(shape.also, columns, {*shape.keys})
            yield Way(name, options, also, shape.keys, shape.weight())
        elif names := other_names(shape, columns):
            named = [with_names(row, names) for row in rows]
            if any(shape.matches(row) for row in named):
                options = shape.options_for(named)
                said = (f"the names of the columns: {', '.join(names.values())}",)
                yield Way(name, options, names, shape.keys, shape.weight(), guessed=said)
    guess = table_guess.guess(rows)
    if guess is not None:
        yield Way(
            TABLE,
            guess.options,
            guess.columns,
            guess.keys,
            min(len(guess.keys), MOST_GUESSED),
            guessed=guess.said,
        )


def all_shapes() -> Iterator[tuple[str, Shape]]:
    """The forms of row of every format that converts rows."""
    for name in reader.format_names():
        if name != reader.HUB:
            for shape in getattr(module_of(name), "SHAPES", ()):
                yield name, shape


def module_of(name: str) -> ModuleType:
    """The module of a format."""
    return plugins.load("concord.annotations.formats", name, "sources")


def other_names(shape: Shape, columns: Sequence[str]) -> dict[str, str] | None:
    """Key -> column, for keys that the file has under another name; None if some are not there."""
    heads = {key.partition(".")[0].removesuffix(EACH) for key in shape.keys}
    missing = [key for key in shape.keys if key.partition(".")[0].removesuffix(EACH) not in columns]
    if len(shape.keys) - len(missing) < LEAST_KEYS and not is_pair(missing):
        return None
    names = renamed(missing, columns, heads)
    return (
        {**names, **renamed(shape.also, columns, {*heads, *names.values()})}
        if (missing and len(names) == len(missing))
        else None
    )


def is_pair(missing: Sequence[str]) -> bool:
    """Whether only the two answers of a pair have other names."""
    return list(missing) == ["chosen", "rejected"]


def renamed(
    keys: Collection[str], columns: Sequence[str], taken: Collection[str]
) -> dict[str, str]:
    """Key -> column, for the keys that have another name in the file."""
    names: dict[str, str] = {}
    for key in keys:
        if key not in columns:
            column = column_for(key, columns, {*taken, *names.values()})
            if column is not None:
                names[key] = column
    return names


def with_names(row: Row, names: dict[str, str]) -> dict[str, Any]:
    """The row with some of its columns under the keys of a format."""
    return {**row, **{key: row.get(column) for key, column in names.items()}}


def tested(way: Way, rows: Sequence[Row]) -> Way:
    """The way with the share of rows that it reads, or leaves out without fault."""
    if way.format not in reader.object_formats():
        return way
    records = (Record(number, "", dict(row)) for number, row in enumerate(rows, 1))
    good: set[int] = set()
    kept = False
    try:
        for record in reader.convert_objects(
            module_of(way.format), records, way.options, way.columns
        ):
            reason = fault(record)
            kept = kept or reason is None
            if reason is None or reason in NO_FAULT:
                good.add(record.line)
    except ConcordError:
        return Way(**{**vars(way), "read": 0.0})
    share = len(good) / len(rows) if rows else 0.0
    return Way(**{**vars(way), "read": share})


def fault(record: Record) -> str | None:
    """Why a record is rejected, or None if it can be read."""
    if record.row is None:
        return None if record.rejection is None else record.rejection.reason
    try:
        interchange.rows(record.row)
    except RowError as error:
        return error.rejection.reason
    return None


def nearest(rows: Sequence[Row]) -> Nearest | None:
    """The form of row that shares most keys with these rows, if it shares at least half of them."""
    columns = {key for row in rows for key in row}
    best: tuple[float, int, Nearest] | None = None
    for name, shape in all_shapes():
        heads = list(dict.fromkeys(key.partition(".")[0].removesuffix(EACH) for key in shape.keys))
        present = tuple(head for head in heads if head in columns)
        missing = tuple(head for head in heads if head not in columns)
        share = len(present) / len(heads) if heads else 0.0
        if (
            missing
            and len(present) >= LEAST_KEYS
            and share >= HALF
            and (best is None or (share, len(present)) > best[:2])
        ):
            best = (share, len(present), Nearest(name, present, missing))
    return best[2] if best else None


def folder_format(path: Path) -> str | None:
    """The format that reads a folder with these files, if there is one."""
    if not path.is_dir():
        return None
    for name in reader.format_names():
        files = () if name == reader.HUB else getattr(module_of(name), "FOLDER", ())
        if files and all((path / file).is_file() for file in files):
            return name
    return None
