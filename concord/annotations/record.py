"""What a source format yields: Records, each one annotation or the reason why there is none.

A format lives in `tasks/annotations/formats/<name>.py`. It turns what its files hold into annotations of Concord's
interchange format (`concord.annotations.interchange`), one Record each, and checks nothing that the common validator
checks. One object may yield several Records. What cannot be understood becomes a Record with a rejection; a file that
cannot be this format at all raises DataError.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Never

import orjson
from pydantic.dataclasses import dataclass as params_dataclass

from concord.stage.errors import DataError
from concord.stage.params import FORBID

GivenOptions = Mapping[str, Any]
"""The `options` of a source in params.yaml; a format validates them with `concord.stage.params.section`."""


@params_dataclass(frozen=True, config=FORBID)
class NoOptions:
    """The options of a format that has none."""


SIGNATURES = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"PAR1": "parquet",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


class Rejection(NamedTuple):
    """Why a row cannot be used: a reason code, the column at fault, and what was found there."""

    reason: str
    column: str
    detail: str


class RowError(Exception):
    """Raised while one row is read or validated; carries its Rejection."""

    def __init__(self, reason: str, column: str, detail: str) -> None:
        super().__init__(f"{column}: {reason}: {detail}")
        self.rejection = Rejection(reason, column, detail)


class Record(NamedTuple):
    """One annotation, or the reason why there is none."""

    line: int
    """Line in the file, from 1 (or the number of the entry in a format without lines)."""
    raw: str
    """What stood there, for people."""
    row: dict[str, Any] | None = None
    """The annotation in the interchange format; null where it was rejected."""
    rejection: Rejection | None = None
    file: str = ""
    """Which file of a folder."""

    def becomes(self, made: "dict[str, Any] | RowError") -> "Record":
        """An annotation made of this record, or the record rejected."""
        if made is self.row:
            return self
        if isinstance(made, RowError):
            return Record(self.line, self.raw, None, made.rejection, self.file)
        return Record(self.line, self.raw, made, None, self.file)


Annotations = Callable[[dict[str, Any]], Iterable[dict[str, Any] | RowError]]
"""What a format does with one object: annotations in the interchange format, or reasons why one cannot be."""


def each(records: Iterable[Record], annotations: Annotations) -> Iterator[Record]:
    """The annotations that every object becomes. What raises a RowError is rejected as a whole, a RowError that is
    yielded rejects one annotation of several."""
    for record in records:
        if record.row is None:
            yield record
            continue
        try:
            made = list(annotations(record.row))
        except RowError as error:
            made = [error]
        for item in made:
            yield record.becomes(item)


def parse(number: int, text: str, file: str = "") -> Record:
    """A line of JSON as a Record; what is no JSON object is rejected."""
    try:
        row = orjson.loads(text)
    except ValueError:
        try:  # slower, but it takes half a surrogate pair, whose column is then found
            row = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            return Record(number, text, None, Rejection("not_json", "line", str(error)), file)
    if not isinstance(row, dict):
        rejection = Rejection("wrong_type", "line", f"holds {type(row).__name__}, not an object")
        return Record(number, text, None, rejection, file)
    return Record(number, text, row, None, file)


def demand_file(path: Path, text: bool = True) -> None:
    """Raises DataError unless `path` is a file with something in it, which, if asked for, may be text."""
    if not path.exists():
        pulled = (
            f"{path}.dvc is there: run `dvc pull`"
            if Path(f"{path}.dvc").exists()
            else "correct its path"
        )
        raise DataError(f"source {path} is not there; {pulled}")
    if not path.is_file():
        raise DataError(f"source {path} is not a file; give the path of a file")
    with path.open("rb") as stream:
        start = stream.read(4)
    if not start.strip():
        raise DataError(f"source {path} is empty; give a file with annotations")
    for signature, kind in SIGNATURES.items():
        if text and start.startswith(signature):
            raise DataError(
                f"source {path} is {kind}, not UTF-8 text; convert it, or let its name end as such files' do"
            )


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is no JSON")
