"""What a format yields: Records, each with one annotation or the reason for its rejection.

A format is a module `concord/annotations/formats/<name>.py`. It converts its files to annotations
of the interchange format (`concord.annotations.interchange`), one Record per annotation. An object
may yield several Records. Checks that all formats share are not repeated in a format: they run
later, on every annotation. An object that a format cannot interpret becomes a rejected Record. A
file that cannot be in the format at all raises DataError.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Never

import orjson
from pydantic.dataclasses import dataclass as params_dataclass

from concord.annotations.cleaning import clean
from concord.stage.errors import DataError
from concord.stage.params import FORBID

GivenOptions = Mapping[str, Any]
"""The `options` of a source in params.yaml, validated by `concord.stage.params.section`."""


@params_dataclass(frozen=True, config=FORBID)
class NoOptions:
    """The options of a format without options."""


SIGNATURES = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"PAR1": "parquet",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
"""First bytes of a file -> kind of file."""


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

    def with_result(self, result: "dict[str, Any] | RowError") -> "Record":
        """This record with another annotation, or rejected."""
        if result is self.row:
            return self
        if isinstance(result, RowError):
            return Record(self.line, self.raw, None, result.rejection, self.file)
        return Record(self.line, self.raw, result, None, self.file)


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

    Examples:
        >>> parse(1, '{"label": 1}').row
        {'label': 1}
        >>> parse(2, "[1]").rejection.detail
        'holds list, not an object'
    """
    try:
        row = orjson.loads(text)
    except ValueError:
        try:
            # The slower parser accepts lone surrogates, so that their column can be reported.
            row = json.loads(text, parse_constant=_reject_constant)
        except (ValueError, RecursionError) as error:
            return Record(number, text, None, Rejection("not_json", "line", str(error)), file)
    if not isinstance(row, dict):
        rejection = Rejection("wrong_type", "line", f"holds {type(row).__name__}, not an object")
        return Record(number, text, None, rejection, file)
    return Record(number, text, row, None, file)


def check_file(path: Path, text: bool = True) -> None:
    """Raises DataError unless `path` is a file that is not empty and, with `text`, looks like text.

    Only the first four bytes are read.
    """
    if not path.exists():
        remedy = "correct its path"
        if Path(f"{path}.dvc").exists():
            remedy = f"{path}.dvc exists, so run `dvc pull`"
        raise DataError(f"source {path} does not exist; {remedy}")
    if not path.is_file():
        raise DataError(f"source {path} is not a file; give the path of a file")
    with path.open("rb") as stream:
        start = stream.read(4)
    if not start.strip():
        raise DataError(f"source {path} is empty; give a file with annotations")
    for signature, kind in SIGNATURES.items():
        if text and start.startswith(signature):
            raise DataError(
                f"source {path} is {kind}, not UTF-8 text; convert it, or correct its extension"
            )


def _reject_constant(name: str) -> Never:
    raise ValueError(f"{name} is not valid JSON")
