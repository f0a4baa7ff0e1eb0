"""What a format yields: Records, each with one annotation or the reason for its rejection.

A format is a module `concord/annotations/formats/<name>.py`. It converts its files to annotations
of the interchange format (`concord.annotations.interchange`), one Record per annotation. An object
may yield several Records. Checks that all formats share are not repeated in a format: they run
later, on every annotation. An object that a format cannot interpret becomes a rejected Record. A
file that cannot be in the format at all raises DataError.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson
from pydantic.dataclasses import dataclass as params_dataclass

from concord.annotations.cleaning import clean
from concord.stage.params import FORBID

PYTHON = "is a Python dict, not JSON; write the rows with json.dumps"
JSON_NAMES: Mapping[type, str] = {
    list: "a list",
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}
GivenOptions = Mapping[str, Any]
"""The `options` of a source in params.yaml, validated by `concord.stage.params.section`."""


@params_dataclass(frozen=True, config=FORBID)
class NoOptions:
    """The options of a format without options."""


class Rejection(NamedTuple):
    """Why a row is rejected."""

    reason: str
    """Reason code, a key of `concord.annotations.quarantine.REASONS`."""
    column: str
    """The column at fault."""
    detail: str
    """What is wrong with its value."""


class RowError(Exception):
    """A row cannot be read or is invalid. `rejection` says why."""

    def __init__(self, reason: str, column: str, detail: str) -> None:
        super().__init__(f"{column}: {reason}: {detail}")
        self.rejection = Rejection(reason, column, detail)


class RepeatedKeyError(ValueError):
    """A JSON object has a key twice. `rejection` says which one."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the key {key!r} stands twice")
        self.rejection = Rejection("repeated_key", key, "stands twice in one object")


class Record(NamedTuple):
    """One annotation, or the reason for its rejection."""

    line: int
    """Line of the file, from 1; the number of the row in formats without lines."""
    raw: str
    """The original content, shown in the quarantine."""
    row: dict[str, Any] | None = None
    """The annotation; None if it is rejected."""
    rejection: Rejection | None = None
    """Why the row is rejected; None if it is not."""
    file: str = ""
    """The file within the source's folder; empty if the source is one file."""
    changes: tuple[str, ...] = ()
    """What was removed from the annotation, to be counted."""
    entry: int = 0
    """Number of the row in its file, from 1, if several rows may begin on one line; else 0."""

    def with_result(self, result: "dict[str, Any] | RowError") -> "Record":
        """This record with another annotation, or rejected."""
        if result is self.row:
            return self
        if isinstance(result, RowError):
            return Record(self.line, self.raw, None, result.rejection, self.file, entry=self.entry)
        return Record(self.line, self.raw, result, None, self.file, entry=self.entry)


Annotations = Callable[[dict[str, Any]], Iterable[dict[str, Any] | RowError]]
"""Converts one object to annotations. A RowError in the result rejects a single annotation."""


def convert(records: Iterable[Record], annotations: Annotations) -> Iterator[Record]:
    """Applies `annotations` to every object, and `clean` to every annotation.

    A RowError that is raised rejects the object. A RowError that is yielded rejects one annotation
    and keeps the others.
    """
    for record in records:
        if record.row is None:
            yield record
            continue
        try:
            results = list(annotations(record.row))
        except RowError as error:
            results = [error]
        for result in results:
            if isinstance(result, RowError):
                yield record.with_result(result)
            else:
                cleaned, changes = clean(result)
                yield record.with_result(cleaned)._replace(changes=changes)


def parse(number: int, text: str, file: str = "") -> Record:
    """Parses a line of JSON. Lines that are not a JSON object are rejected.

    NaN, which Python writes for a missing value, is read as the number NaN.

    Examples:
        >>> parse(1, '{"label": 1}').row
        {'label': 1}
        >>> parse(2, "[1]").rejection.detail
        'holds a list, not an object'
        >>> parse(3, '{"label": 1, "label": 2}').rejection.detail
        'stands twice in one object'
    """
    try:
        row = orjson.loads(text)
        is_certain = not isinstance(row, dict) or not _may_repeat_keys(text, row)
    except ValueError:
        is_certain = False
    if not is_certain:
        try:
            # The slower parser also accepts NaN and lone surrogates, so that their column can be
            # reported.
            row = json.loads(text, object_pairs_hook=unique_keys)
        except RepeatedKeyError as error:
            return Record(number, text, None, error.rejection, file)
        except (ValueError, RecursionError) as error:
            detail = PYTHON if text.lstrip().startswith("{'") else str(error)
            return Record(number, text, None, Rejection("not_json", "line", detail), file)
    if not isinstance(row, dict):
        rejection = Rejection("wrong_type", "line", f"holds {JSON_NAMES[type(row)]}, not an object")
        return Record(number, text, None, rejection, file)
    return Record(number, text, row, None, file)


def _may_repeat_keys(text: str, row: dict[str, Any]) -> bool:
    """Whether the text has other quotes than the row that was parsed from it.

    The quotes of a key that stands twice are missing in the row.
    """
    try:
        return text.count('"') != orjson.dumps(row).count(b'"')
    except TypeError:  # nested too deeply
        return True


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object with these keys and values, for `json.loads`. Raises RepeatedKeyError."""
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        raise RepeatedKeyError(next(key for key in keys if keys.count(key) > 1))
    return row
