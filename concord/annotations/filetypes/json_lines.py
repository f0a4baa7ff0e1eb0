"""JSON Lines: one object per line."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from concord.annotations.filetypes.content import BOM, not_utf8, open_binary, readable
from concord.annotations.record import Record, Rejection, parse


def json_lines(path: Path, file: str = "") -> Iterator[Record]:
    """Yields a Record for every line of a JSON Lines file. The objects may have any keys.

    Lines end with LF, CRLF or CR. Blank lines are skipped. Lines that are not UTF-8 are rejected.
    Raises DataError if the file is missing, empty, not text, or a truncated gzip file.
    """
    with readable(path), open_binary(path) as stream:
        for number, line in enumerate(_lines(stream), start=1):
            content = line.removeprefix(BOM) if number == 1 else line
            if not content or content.isspace():
                continue
            try:
                text = content.decode("utf-8")
            except UnicodeDecodeError as error:
                detail = not_utf8(content[error.start])
                shown = content.decode("utf-8", errors="replace")
                yield Record(number, shown, None, Rejection("not_utf8", "line", detail), file)
            else:
                yield parse(number, text, file)


def _lines(stream: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a stream without their ends. JSON holds no CR, except between its tokens."""
    for line in stream:
        content = line.rstrip(b"\r\n")
        if b"\r" in content:
            yield from content.split(b"\r")
        else:
            yield content
