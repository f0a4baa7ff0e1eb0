"""What a source format yields, and the lines of a text file as such.

A format is a function `read(path, options) -> Iterator[Record]` in `tasks/annotations/formats/<name>.py`. It turns what
its files hold into rows of Concord's interchange format (`tasks.annotations.interchange`), one Record each, and checks
nothing that the common validator checks. One line may yield several Records. What cannot be understood becomes a Record
with a rejection; a file that cannot be this format at all raises DataError.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never

from pydantic.dataclasses import dataclass as params_dataclass

from tasks.stage.errors import DataError
from tasks.stage.params import FORBID

Options = Mapping[str, Any]
"""The `options` of a source in params.yaml; a format validates them with `tasks.stage.params.section`."""


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


@dataclass(frozen=True)
class Rejection:
    """Why a row cannot be used: a reason code, the column at fault, and what was found there."""

    reason: str
    column: str
    detail: str


class RowError(Exception):
    """Raised while one row is read or validated; carries its Rejection."""

    def __init__(self, reason: str, column: str, detail: str) -> None:
        super().__init__(f"{column}: {reason}: {detail}")
        self.rejection = Rejection(reason, column, detail)


@dataclass(frozen=True)
class Record:
    """One annotation, or the reason why there is none."""

    line: int
    """Line in the file, from 1 (or the number of the entry in a format without lines)."""
    raw: str
    """What stood there, for people."""
    row: dict[str, Any] | None = None
    """The annotation in the interchange format; null where it was rejected."""
    rejection: Rejection | None = None


def of(line: int, row: dict[str, Any], raw: str | None = None) -> Record:
    """A Record of one annotation; `raw` defaults to the row itself."""
    return Record(line, json.dumps(row, ensure_ascii=False, default=str) if raw is None else raw, row)


def lines(path: Path) -> Iterator[tuple[int, str] | Record]:
    """Numbered lines of a text file; one that is not UTF-8 comes as a rejected Record. Blank lines are skipped.

    Raises DataError where the file is missing, empty, or plainly not text.
    """
    demand_file(path)
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not content.strip():
                continue
            try:
                yield number, content.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                rejection = Rejection("not_utf8", "line", f"byte {error.start + 1} of the line is no UTF-8")
                yield Record(number, content.decode("utf-8", errors="replace").rstrip("\r\n"), None, rejection)


def json_lines(path: Path) -> Iterator[Record]:
    """One Record per line of a JSON Lines file, its row the object of that line, whatever keys it has."""
    return (item if isinstance(item, Record) else parse(*item) for item in lines(path))


def parse(number: int, text: str) -> Record:
    """A line of JSON as a Record; what is no JSON object is rejected."""
    try:
        row = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return Record(number, text, None, Rejection("not_json", "line", str(error)))
    if not isinstance(row, dict):
        return Record(number, text, None, Rejection("wrong_type", "line", f"holds {type(row).__name__}, not an object"))
    return Record(number, text, row)


def demand_file(path: Path) -> None:
    """Raises DataError unless `path` is a file with something in it that may be text."""
    if not path.exists():
        pulled = f"{path}.dvc is there: run `dvc pull`" if Path(f"{path}.dvc").exists() else "correct its path"
        raise DataError(f"source {path} is not there; {pulled}")
    if not path.is_file():
        raise DataError(f"source {path} is not a file; give the path of a file")
    with path.open("rb") as stream:
        start = stream.read(4)
    if not start.strip():
        raise DataError(f"source {path} is empty; give a file with annotations")
    for signature, kind in SIGNATURES.items():
        if start.startswith(signature):
            raise DataError(f"source {path} is {kind}, not UTF-8 text; unpack or convert it first")


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is no JSON")
