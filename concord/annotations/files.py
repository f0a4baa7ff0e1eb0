"""Objects out of files, one at a time: JSON Lines, JSON arrays, CSV, Parquet, text gzipped, and folders of such shards.

What cannot be read becomes a rejected Record with its place; a file that cannot be what its name says raises DataError.
Of a folder every file with a known ending is read, by name; the rest (README.md, SOURCE.txt) is not data.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from concord.annotations.record import Record, Rejection, demand_file, parse
from concord.stage.errors import DataError

BATCH = 1024
BUFFER = 2**16
"""Bytes that are read at once."""
csv.field_size_limit(2**31 - 1)


def objects(path: Path) -> Iterator[Record]:
    """A Record for every object under `path`, its row the object; `file` tells the shard of a folder."""
    for shard in shards(path):
        name = "" if shard == path else shard.relative_to(path).as_posix()
        yield from READERS[ending(shard)](shard, name)


def shards(path: Path) -> list[Path]:
    """The files to read, by name. Raises DataError where there is none."""
    if not path.is_dir():
        demand_file(path, text=False)
        if ending(path) not in READERS:
            raise DataError(
                f"source {path} ends in none of {', '.join(READERS)}; rename or convert it"
            )
        return [path]
    found = sorted(file for file in path.rglob("*") if ending(file) in READERS and file.is_file())
    if not found:
        raise DataError(
            f"source {path} holds no file that ends in {', '.join(READERS)}; give the folder of the data"
        )
    return found


def ending(path: Path) -> str:
    """The last part of a name that says what the file is, without `.gz`."""
    return (
        path.with_suffix("").suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    )


def json_lines(path: Path, file: str = "") -> Iterator[Record]:
    """One Record per line of a JSON Lines file, its row the object of that line, whatever keys it has.

    Blank lines are skipped; a line that is not UTF-8 is rejected. Raises DataError where the file is missing, empty,
    plainly not text, or a gzip file that was cut off.
    """
    with opened(path) as stream:
        for number, line in enumerate(_whole(stream, path), start=1):
            content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not content or content.isspace():
                continue
            try:
                text = content.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                rejection = Rejection(
                    "not_utf8", "line", f"byte {error.start + 1} of the line is no UTF-8"
                )
                shown = content.decode("utf-8", errors="replace").rstrip("\r\n")
                yield Record(number, shown, None, rejection, file)
            else:
                yield parse(number, text, file)


def json_file(path: Path, file: str = "") -> Iterator[Record]:
    """A `.json` file: the elements of an array, or an object on each line."""
    with opened(path) as stream:
        start = stream.read(256).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return json_array(path, file) if start == b"[" else json_lines(path, file)


def json_array(path: Path, file: str = "") -> Iterator[Record]:
    """The elements of a JSON array, each with the line on which it begins; the file is held in memory.

    Raises DataError where the file is no text or no array. Elements before a broken one are kept.
    """
    text = _decoded(path)
    position = _skip(text, 0)
    if text[position : position + 1] != "[":
        raise DataError(f"source {path} does not hold a JSON array; is the format the right one?")
    line, counted, position = 1, 0, _skip(text, position + 1)
    while text[position : position + 1] not in ("]", ""):
        line, counted = line + text.count("\n", counted, position), position
        try:
            element, end = json.JSONDecoder().raw_decode(text, position)
        except (ValueError, RecursionError) as error:  # nothing after this place can be told apart
            yield Record(
                line, text[position:], None, Rejection("not_json", "entry", str(error)), file
            )
            return
        yield _element(line, element, text[position:end], file)
        position = _skip(text, end)
        if text[position : position + 1] == ",":
            position = _skip(text, position + 1)
    if text[position : position + 1] == "":
        last = line + text.count("\n", counted)
        cut = Rejection("not_json", "entry", "the array was cut off: there is no ']'")
        yield Record(last, text[-80:], None, cut, file)


def csv_file(path: Path, file: str = "") -> Iterator[Record]:
    """The rows of a CSV file with a header, values as text, an empty one as null; `line` is the row's last line.

    Bytes that are no UTF-8 come as lone surrogates, which no annotation may hold.
    """
    with io.TextIOWrapper(
        opened(path), encoding="utf-8-sig", errors="surrogateescape", newline=""
    ) as stream:
        reader = csv.DictReader(stream, strict=True)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                broken = Rejection("wrong_type", "line", f"is no CSV: {error}")
                yield Record(reader.line_num + 1, "", None, broken, file)
            else:
                yield _csv_row(reader.line_num, row, file)


def parquet_file(path: Path, file: str = "") -> Iterator[Record]:
    """The rows of a Parquet file, counted from 1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    demand_file(path, text=False)
    try:
        stored = pq.ParquetFile(path)
        number = 0
        for batch in stored.iter_batches(batch_size=BATCH):
            for row in batch.to_pylist():
                number += 1
                yield Record(
                    number, json.dumps(row, ensure_ascii=False, default=str), row, None, file
                )
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"source {path} is no readable Parquet file: {error}; write it again"
        ) from None


READERS: dict[str, Callable[[Path, str], Iterator[Record]]] = {
    ".jsonl": json_lines,
    ".ndjson": json_lines,
    ".json": json_file,
    ".csv": csv_file,
    ".parquet": parquet_file,
}
"""Ending -> reader of a file (path, name for its records)."""


def opened(path: Path) -> Any:
    """A binary stream of a text file, gzipped or not. Raises DataError for what is plainly not text."""
    gzipped = path.suffix.lower() == ".gz"
    demand_file(path, text=not gzipped)
    return gzip.open(path, "rb") if gzipped else path.open("rb", buffering=BUFFER)


def _whole(stream: BinaryIO, path: Path) -> Iterator[bytes]:
    try:
        yield from stream
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"source {path} is no whole gzip file: {error}; fetch it again") from None


def _decoded(path: Path) -> str:
    with opened(path) as stream:
        content = b"".join(_whole(stream, path))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"source {path} is not UTF-8 (line {line}); save it as UTF-8") from None


def _skip(text: str, position: int) -> int:
    """The next place that is no white space."""
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
            "wrong_type", "line", "has not as many values as the header has names"
        )
        return Record(line, raw, None, rejection, file)
    return Record(line, raw, {key: value or None for key, value in row.items()}, None, file)
