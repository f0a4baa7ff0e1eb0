"""Reads objects from JSON Lines, JSON arrays, CSV and Parquet, gzipped text, and folders of those.

An object that cannot be read becomes a rejected Record with its line number. A file whose content
contradicts its extension raises DataError. In a folder, all files with a known extension are read
in order of their names; other files (README.md, for example) are ignored.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from concord.annotations.record import Record, Rejection, check_file, parse
from concord.stage.errors import DataError

BATCH = 1024
"""Rows of a Parquet file that are decoded at once."""
BUFFER = 2**16
"""Bytes that are read at once."""
csv.field_size_limit(2**31 - 1)


def objects(path: Path) -> Iterator[Record]:
    """Yields a Record for every object in a file or folder.

    `Record.row` is the object. `Record.file` is the file's path within the folder, or "" if `path`
    is a file. Raises DataError.
    """
    for file in data_files(path):
        name = "" if file == path else file.relative_to(path).as_posix()
        yield from READERS[extension(file)](file, name)


def data_files(path: Path) -> list[Path]:
    """The files to read, sorted by path. Raises DataError if there are none."""
    if not path.is_dir():
        check_file(path, text=False)
        if extension(path) not in READERS:
            raise DataError(
                f"source {path} has none of the extensions {', '.join(READERS)}; "
                "rename or convert it"
            )
        return [path]
    files = sorted(
        file for file in path.rglob("*") if extension(file) in READERS and file.is_file()
    )
    if not files:
        raise DataError(
            f"source {path} contains no {', '.join(READERS)} file; give the folder with the data"
        )
    return files


def extension(path: Path) -> str:
    """The lower-case extension of a file, ignoring `.gz`.

    Examples:
        >>> extension(Path("train.JSONL.gz"))
        '.jsonl'
    """
    if path.suffix.lower() == ".gz":
        path = path.with_suffix("")
    return path.suffix.lower()


def json_lines(path: Path, file: str = "") -> Iterator[Record]:
    """Yields a Record for every line of a JSON Lines file. The objects may have any keys.

    Blank lines are skipped. Lines that are not UTF-8 are rejected. Raises DataError if the file is
    missing, empty, clearly not text, or a truncated gzip file.
    """
    with open_binary(path) as stream:
        for number, line in enumerate(_lines(stream, path), start=1):
            content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not content or content.isspace():
                continue
            try:
                text = content.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                rejection = Rejection(
                    "not_utf8", "line", f"byte {error.start + 1} of the line is not UTF-8"
                )
                shown = content.decode("utf-8", errors="replace").rstrip("\r\n")
                yield Record(number, shown, None, rejection, file)
            else:
                yield parse(number, text, file)


def json_file(path: Path, file: str = "") -> Iterator[Record]:
    """Reads a `.json` file: either one array, or one object per line."""
    with open_binary(path) as stream:
        start = stream.read(256).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return json_array(path, file) if start == b"[" else json_lines(path, file)


def json_array(path: Path, file: str = "") -> Iterator[Record]:
    """Yields the elements of a JSON array, each with the line on which it begins.

    The whole file is held in memory. A syntax error ends the array: the elements before it are
    kept. Raises DataError if the file is not text or not an array.
    """
    text = _decoded(path)
    position = _skip_space(text, 0)
    if text[position : position + 1] != "[":
        raise DataError(f"source {path} is not a JSON array; check `format` in params.yaml")
    line, counted, position = 1, 0, _skip_space(text, position + 1)
    while text[position : position + 1] not in ("]", ""):
        line, counted = line + text.count("\n", counted, position), position
        try:
            element, end = json.JSONDecoder().raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            # Where the next element begins is unknown after a syntax error.
            rejection = Rejection("not_json", "entry", str(error))
            yield Record(line, text[position:], None, rejection, file)
            return
        yield _element(line, element, text[position:end], file)
        position = _skip_space(text, end)
        if text[position : position + 1] == ",":
            position = _skip_space(text, position + 1)
    if text[position : position + 1] == "":
        last = line + text.count("\n", counted)
        truncated = Rejection(
            "not_json", "entry", "the array is truncated: the final ']' is missing"
        )
        yield Record(last, text[-80:], None, truncated, file)


def csv_file(path: Path, file: str = "") -> Iterator[Record]:
    """Yields the rows of a CSV file with a header. Values are strings; empty ones become null.

    `Record.line` is the last line of the row. Bytes that are not UTF-8 become lone surrogates,
    which `concord.annotations.fields.text` rejects.
    """
    with io.TextIOWrapper(
        open_binary(path), encoding="utf-8-sig", errors="surrogateescape", newline=""
    ) as stream:
        reader = csv.DictReader(stream, strict=True)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                rejection = Rejection("wrong_type", "line", f"is not valid CSV: {error}")
                yield Record(reader.line_num + 1, "", None, rejection, file)
            else:
                yield _csv_row(reader.line_num, row, file)


def parquet_file(path: Path, file: str = "") -> Iterator[Record]:
    """Yields the rows of a Parquet file. `Record.line` counts them from 1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_file(path, text=False)
    try:
        stored = pq.ParquetFile(path)
        number = 0
        for batch in stored.iter_batches(batch_size=BATCH):
            for row in batch.to_pylist():
                number += 1
                raw = json.dumps(row, ensure_ascii=False, default=str)
                yield Record(number, raw, row, None, file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"source {path} is not a readable Parquet file: {error}; write it again"
        ) from None


READERS: dict[str, Callable[[Path, str], Iterator[Record]]] = {
    ".jsonl": json_lines,
    ".ndjson": json_lines,
    ".json": json_file,
    ".csv": csv_file,
    ".parquet": parquet_file,
}
"""Extension -> reader, called with (path, `Record.file` of its records)."""


def open_binary(path: Path) -> Any:
    """Opens a text file, gzipped or not, as a binary stream. Raises DataError if it is not text."""
    gzipped = path.suffix.lower() == ".gz"
    check_file(path, text=not gzipped)
    return gzip.open(path, "rb") if gzipped else path.open("rb", buffering=BUFFER)


def _lines(stream: BinaryIO, path: Path) -> Iterator[bytes]:
    """The lines of a stream. Raises DataError if gzip cannot decompress it."""
    try:
        yield from stream
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"source {path} is truncated or not a gzip file: {error}; download it again"
        ) from None


def _decoded(path: Path) -> str:
    with open_binary(path) as stream:
        content = b"".join(_lines(stream, path))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"source {path} is not UTF-8 (line {line}); save it as UTF-8") from None


def _skip_space(text: str, position: int) -> int:
    """The first position from `position` on that is not white space."""
    while text[position : position + 1].isspace():
        position += 1
    return position


def _element(line: int, element: Any, raw: str, file: str) -> Record:
    if isinstance(element, dict):
        return Record(line, raw, element, None, file)
    rejection = Rejection("wrong_type", "entry", f"is {type(element).__name__}, not an object")
    return Record(line, raw, None, rejection, file)


def _csv_row(line: int, row: dict[Any, Any], file: str) -> Record:
    raw = json.dumps({str(key): value for key, value in row.items()}, ensure_ascii=False)
    if None in row or None in row.values():
        rejection = Rejection(
            "wrong_type", "line", "the number of values differs from the number of columns"
        )
        return Record(line, raw, None, rejection, file)
    return Record(line, raw, {key: value or None for key, value in row.items()}, None, file)
