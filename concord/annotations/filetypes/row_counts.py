"""The number of rows in a file, counted by other means than those that read the rows.

JSON Lines by the lines that are not blank, whole JSON by its brackets, CSV by pandas, Parquet and
Arrow by their metadata. A file from which another number of rows was read is refused.
"""

import io
import re
from collections.abc import Iterator
from pathlib import Path

from concord.annotations.filetypes.columnar import arrow_batches
from concord.annotations.filetypes.content import BOM, open_binary, readable
from concord.annotations.filetypes.csv_tables import SEPARATOR, delimiter_of
from concord.stage.errors import DataError

BLOCK = 2**20
"""Bytes, or rows of CSV, that are counted at once."""
STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
TOKEN = re.compile(rb"[\[\]{}]|[^\s\[\]{},:]+")


def lines(path: Path) -> int:
    """The lines of a text file that are not blank. Lines end with LF, CRLF or CR."""
    count, rest = 0, b""
    with readable(path), open_binary(path) as stream:
        if stream.peek(len(BOM)).startswith(BOM):  # type: ignore[attr-defined]
            stream.read(len(BOM))
        while block := stream.read(BLOCK):
            whole, newline, rest = (rest + block).rpartition(b"\n")
            count += _not_blank(whole + newline)
    return count + _not_blank(rest)


def _not_blank(text: bytes) -> int:
    """The lines of a text that are not blank."""
    if b"\r" in text:
        text = text.replace(b"\r", b"\n")
    parts = text.split(b"\n")
    return len(parts) - parts.count(b"") - sum(map(bytes.isspace, parts))


def json_elements(path: Path) -> int:
    """The elements of the JSON arrays in a file."""
    return _at_level(path, 1)


def json_objects(path: Path) -> int:
    """The JSON objects in a file."""
    return _at_level(path, 0)


def _at_level(path: Path, level: int) -> int:
    """The values at a level of nesting: 0 for the outermost ones, 1 for the elements of arrays.

    Strings are removed first, and brackets are counted in what remains. Raises DataError if they
    do not match.
    """
    with readable(path), open_binary(path) as stream:
        content = STRING.sub(b'"', stream.read().removeprefix(BOM))
    count = depth = 0
    for match in TOKEN.finditer(content):
        token = match[0]
        if token in b"]}":
            depth -= 1
            continue
        count += depth == level
        depth += token in b"[{"
        if depth < 0:
            break
    if depth:
        raise DataError(
            f"source {path}: its brackets do not match, so it is broken or cut off; correct it, or "
            "write one object per line"
        )
    return count


def csv_rows(path: Path) -> int:
    """The rows of a CSV file without its header."""
    import pandas as pd

    with readable(path), open_binary(path) as stream:
        first = stream.readline().removeprefix(BOM).decode("latin-1").split("\r")[0]
        named = SEPARATOR.fullmatch(first) is not None
        first = stream.readline().decode("latin-1") if named else first
    with readable(path), open_binary(path) as stream:
        if stream.read(len(BOM)) != BOM:
            stream.seek(0)
        if named:
            stream.readline()
        text = io.TextIOWrapper(stream, "latin-1", newline="")
        try:
            chunks: Iterator[pd.DataFrame] = pd.read_csv(
                text,
                sep=delimiter_of(first),
                header=None,
                usecols=[0],
                dtype=str,
                keep_default_na=False,
                chunksize=BLOCK,
            )
            return sum(len(chunk) for chunk in chunks) - 1
        except pd.errors.ParserError as error:
            raise DataError(
                f"source {path}: its rows cannot be counted: {error}; correct its quotes"
            ) from None


def parquet_rows(path: Path) -> int:
    """The rows of a Parquet file, by its metadata."""
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)


def arrow_rows(path: Path) -> int:
    """The rows of an Arrow file or stream, by the metadata of its batches."""
    with readable(path), path.open("rb") as stream:
        batches = arrow_batches(stream)
        if hasattr(batches, "count_rows"):
            return int(batches.count_rows())
        return sum(batch.num_rows for batch in batches)
