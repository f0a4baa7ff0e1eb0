"""CSV with a header: values between commas, semicolons, tabs or bars."""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from concord.annotations.filetypes.content import not_utf8, open_binary, readable
from concord.annotations.record import Record, Rejection
from concord.stage.errors import DataError

DELIMITERS = (",", ";", "\t", "|")
SEPARATOR = re.compile(r"\ufeff?\"?sep=.\"?\s*")
"""The line with which Excel names the delimiter, before the header."""
csv.field_size_limit(2**31 - 1)


def csv_file(path: Path, file: str = "") -> Iterator[Record]:
    """Yields the rows of a CSV file with a header. Values are strings; empty ones become null.

    The delimiter is the one of `DELIMITERS` that is most frequent in the header; a line `sep=;`
    before the header is skipped. Names of columns lose the spaces around them, and a column without
    a name is called `column <number>`. `Record.line` is the last line of the row. A row is rejected
    if it has more or fewer values than the header, or bytes that are not UTF-8. Raises DataError if
    two columns have the same name, or a quote is not closed, so that rows cannot be told apart.
    """
    with readable(path), open_binary(path) as stream:
        lines = Lines(io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline=""))
        first = lines.first()
        require_csv(first, path)
        if SEPARATOR.fullmatch(first):
            next(lines)
            first = lines.first() or first
        delimiter = delimiter_of(first)
        blank = " \t\r\n".replace(delimiter, "")
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            names = header(next(reader), path)
        except csv.Error as error:
            raise DataError(f"source {path}: the header is not valid CSV: {error}") from None
        while True:
            lines.taken.clear()
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                lines.require_one(path, delimiter, len(names), is_error=True)
                detail = f"is not valid CSV: {error}"
                raw = "".join(lines.taken)
                yield Record(lines.number, raw, None, Rejection("wrong_type", "line", detail))
                continue
            if not "".join(lines.taken).strip(blank):
                continue
            if len(lines.taken) > 1:
                lines.require_one(path, delimiter, len(names), is_error=False)
            yield _row(lines.number, names, values, file)


class Lines:
    """The lines of a file, which remembers those of the current row."""

    def __init__(self, stream: Iterator[str]) -> None:
        self.stream = stream
        self.number = 0
        self.taken: list[str] = []
        self.ahead: list[str] = []
        self.is_at_end = False

    def first(self) -> str:
        """The first line, which is still to be read."""
        self.ahead = [next(self.stream, "")]
        return self.ahead[0]

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.ahead.pop() if self.ahead else next(self.stream, "")
        if not line:
            self.is_at_end = True
            raise StopIteration
        self.number += 1
        self.taken.append(line)
        return line

    def require_one(self, path: Path, delimiter: str, columns: int, is_error: bool) -> None:
        """Raises DataError if the lines of the current row are probably several rows.

        That is so if a quote is closed nowhere or within a value, or if each of three or more
        lines has as many delimiters as the header. (With two columns, each of five lines.)
        """
        count = len(self.taken)
        least = 3 if columns > 2 else 5
        is_rows = (
            columns > 1
            and count >= least
            and all(line.count(delimiter) == columns - 1 for line in self.taken)
        )
        begins = self.number - count + 1
        if is_error and self.is_at_end:
            raise DataError(
                f"source {path}: the quote that opens on line {begins} is never closed, so the "
                f"{count} lines from there on cannot be read as rows; close the quote, or double "
                "each quote within a value"
            )
        if is_rows or (is_error and count > 1):
            raise DataError(
                f"source {path}: the quote that opens on line {begins} is closed on line "
                f"{self.number}, and the lines between look like rows of their own; close the "
                "quote where its value ends, or double each quote within a value"
            )


def require_csv(first: str, path: Path) -> None:
    """Raises DataError if the first line is JSON."""
    if first.lstrip("\ufeff \t")[:2] in ('{"', "[{", "{'"):
        raise DataError(f"source {path} is JSON, not CSV; give it the extension .jsonl or .json")


def delimiter_of(first: str) -> str:
    """The delimiter of a file whose first line is `first`.

    Examples:
        >>> delimiter_of("prompt;chosen, or not;rejected")
        ';'
    """
    unquoted = "".join(first.split('"')[::2])
    return max(DELIMITERS, key=unquoted.count)


def header(names: Sequence[str], path: Path) -> list[str]:
    """The names of the columns. Raises DataError if one stands twice or is not UTF-8."""
    named = [name.strip().strip("\ufeff") or f"column {n}" for n, name in enumerate(names, start=1)]
    for name in named:
        if named.count(name) > 1:
            raise DataError(
                f"source {path} has {named.count(name)} columns called {name!r}, so it is not "
                "clear which one counts; rename or remove one"
            )
        if (position := undecoded(name)) is not None:
            wrong = not_utf8(ord(name[position]) - 0xDC00)
            raise DataError(f"source {path}: in the header, {wrong}")
    return named


def undecoded(text: str) -> int | None:
    """The position of the first byte that is not UTF-8, or None."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None


def _row(line: int, names: list[str], values: list[str], file: str) -> Record:
    row: dict[str, Any] = {name: value or None for name, value in zip(names, values, strict=False)}
    raw = json.dumps(row, ensure_ascii=False)
    if len(values) != len(names):
        raw = json.dumps(values, ensure_ascii=False)
        detail = f"has {len(values)} values for {len(names)} columns"
        return Record(line, raw, None, Rejection("wrong_type", "line", detail), file)
    if not raw.isascii() and undecoded(raw) is not None:
        for name, value in zip(names, values, strict=True):
            if (position := undecoded(value)) is not None:
                rejection = Rejection("not_utf8", name, not_utf8(ord(value[position]) - 0xDC00))
                return Record(line, raw, None, rejection, file)
    return Record(line, raw, row, None, file)
