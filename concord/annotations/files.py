"""Reads objects from JSON, CSV, Parquet and Arrow files, gzipped text, and folders of those.

An object that cannot be read becomes a rejected Record with its line number. A file whose content
contradicts its extension raises DataError. The rows of each file are counted a second time, by
other means; if the counts differ, DataError is raised.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from concord.annotations.filetypes import json_values, row_counts
from concord.annotations.filetypes.columnar import arrow_file, parquet_file
from concord.annotations.filetypes.content import (
    BOM,
    check_file,
    decoded,
    kind_of,
    open_binary,
    readable,
)
from concord.annotations.filetypes.csv_tables import csv_file
from concord.annotations.filetypes.folders import Contents, contents, extension
from concord.annotations.filetypes.json_lines import json_lines
from concord.annotations.record import Record, RepeatedKeyError, unique_keys
from concord.stage.errors import DataError

CHUNK = 2**20
"""Bytes by which the kind of JSON is recognised."""
PREFIX = 2**28
"""Bytes by which JSON over several lines is recognised."""
LINE_END = re.compile(rb"[\r\n]")


class Reader(NamedTuple):
    """How a file is read, and how its rows are counted by other means."""

    records: Callable[[Path, str], Iterator[Record]]
    """Called with the path, and `Record.file` of its records."""
    count: Callable[[Path], int]


def objects(path: Path, totals: dict[str, int] | None = None) -> Iterator[Record]:
    """Yields a Record for every object in a file or folder.

    `Record.row` is the object. `Record.file` is the file's path within the folder, or "" if `path`
    is a file. Raises DataError.

    Args:
        totals: receives the number of rows of each file, once the file is read.
    """
    for file in data_files(path):
        name = "" if file == path else file.relative_to(path).as_posix()
        yield from counted(file, name, totals)


def counted(path: Path, file: str = "", totals: dict[str, int] | None = None) -> Iterator[Record]:
    """The records of one file. Raises DataError if their number is not the number of its rows."""
    reader, number = reader_of(path), 0
    for record in reader.records(path, file):
        number += 1
        yield record
    expected = reader.count(path)
    if number != expected:
        raise DataError(
            f"source {path}: {number} rows were read, but a second count finds {expected}, so rows "
            "cannot be told apart with certainty; correct the quotes and brackets of the file, or "
            "write one JSON object per line"
        )
    if totals is not None:
        totals[file] = expected


def rows_in(path: Path) -> int:
    """The number of rows of a file, counted without reading them."""
    return reader_of(path).count(path)


def data_files(path: Path) -> list[Path]:
    """The files to read, sorted by path. Raises DataError if there are none."""
    return listing(path).data


def listing(path: Path) -> Contents:
    """The files to read, and those that a folder holds beside them. Raises DataError."""
    known = ", ".join(READERS)
    if not path.is_dir():
        check_file(path, text=False)
        if extension(path) not in READERS:
            kind, remedy = kind_of(path) or ("", "rename or convert it")
            raise DataError(
                f"source {path} has none of the extensions {known}"
                f"{f' (it is {kind})' if kind else ''}; {remedy}"
            )
        return Contents([path], [])
    inside = contents(path, READERS)
    if not inside.data:
        raise DataError(
            f"source {path} contains no {known} file; give the folder with the data{_of(inside)}"
        )
    return inside


def _of(inside: Contents) -> str:
    names = [file.name for file in inside.others]
    return f" (it contains {', '.join(names[:5])})" if names else ""


def reader_of(path: Path) -> Reader:
    """How to read a file, by its extension and, for JSON, by its beginning."""
    return READERS.get(extension(path), json_reader)(path)


def json_reader(path: Path) -> Reader:
    """How to read JSON: lines, arrays, objects over several lines, or a list within one object."""
    with readable(path), open_binary(path) as stream:
        start = stream.read(CHUNK).removeprefix(BOM).lstrip()
        first, *later = LINE_END.split(start, maxsplit=1)
        if start[:1] == b"[":
            return ARRAYS
        if start[:1] != b"{":
            return LINES
        if not later:
            first, *later = LINE_END.split(start + stream.read(), maxsplit=1)
        is_alone = not b"".join(later).strip() and not stream.read(CHUNK).strip()
    try:
        row = json.loads(first, object_pairs_hook=unique_keys)
    except RepeatedKeyError:
        return LINES
    except (ValueError, RecursionError):
        return _several_lines(path, first)
    key = json_values.rows_key(row, path) if is_alone and isinstance(row, dict) else None
    return LINES if key is None else _within(key)


def _several_lines(path: Path, first: bytes) -> Reader:
    """How to read a file whose first line is not an object."""
    with readable(path), open_binary(path) as stream:
        text = stream.read(PREFIX).removeprefix(BOM).decode("utf-8", errors="replace").lstrip()
    try:
        value, end = json_values.STRICT.raw_decode(text)
    except RepeatedKeyError:
        return OBJECTS
    except (ValueError, RecursionError):
        return OBJECTS if first.strip() == b"{" else LINES
    after = text[end:].lstrip(" \t")
    if not ("\n" in text[:end] or "\r" in text[:end]) and after[:1] not in ("{", ","):
        return LINES
    key = None if after.strip() else json_values.rows_key(value, path)
    return OBJECTS if key is None else _within(key)


def _within(key: str) -> Reader:
    def records(path: Path, file: str) -> Iterator[Record]:
        return json_values.json_object(path, key, file)

    def count(path: Path) -> int:
        return len(json.loads(decoded(path))[key])

    return Reader(records, count)


LINES = Reader(json_lines, row_counts.lines)
ARRAYS = Reader(json_values.json_array, row_counts.json_elements)
OBJECTS = Reader(json_values.json_array, row_counts.json_objects)
CSV = Reader(csv_file, row_counts.csv_rows)
READERS: dict[str, Callable[[Path], Reader]] = {
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), json_reader),
    **dict.fromkeys((".csv", ".tsv"), lambda _: CSV),
    ".parquet": lambda _: Reader(parquet_file, row_counts.parquet_rows),
    ".arrow": lambda _: Reader(arrow_file, row_counts.arrow_rows),
}
"""Extension -> how to read a file with it."""
