"""JSON that is not one object per line: arrays, and objects that span several lines.

The whole file is held in memory. After a syntax error, reading continues at the next element that
begins with the same key as the first one; the element between is rejected. Where this is not
certain, the file is refused: `concord.annotations.filetypes.row_counts` must count as many elements
as were read.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from concord.annotations.filetypes.content import decoded
from concord.annotations.record import Record, Rejection, RepeatedKeyError, unique_keys
from concord.stage.errors import DataError

SPACE = re.compile(r"[ \t\r\n]*")
FIRST_KEY = re.compile(r'\{\s*("(?:[^"\\\r\n]|\\.)*")\s*:')
ROWS_KEYS = (
    *("data", "rows", "examples", "instances", "items", "records", "entries", "samples"),
    *("train", "validation", "test", "pairs", "comparisons", "preferences", "dataset", "results"),
)
"""Keys under which one object over the whole file holds its rows."""
STRICT = json.JSONDecoder(object_pairs_hook=unique_keys)
LENIENT = json.JSONDecoder()


class Element(NamedTuple):
    """One element: where it is in the text, and its value or what is wrong with it."""

    start: int
    end: int
    value: Any
    rejection: Rejection | None = None


def json_array(path: Path, file: str = "") -> Iterator[Record]:
    """Yields the elements of JSON arrays, each with the line on which it begins.

    The file may hold several arrays, or objects one after the other. Raises DataError if the file
    is not text or not JSON, is cut off, or has other text between or after its values.
    """
    text = decoded(path)
    return _records(text, elements(text, path), file)


def json_object(path: Path, key: str, file: str = "") -> Iterator[Record]:
    """Yields the elements of the list under `key` of one object over the whole file."""
    text = decoded(path)
    start = next(start for name, start, _ in members(text) if name == key)
    return _records(text, _array(text, start, path), file)


def elements(text: str, path: Path) -> Iterator[Element]:
    """The elements of the arrays in a text, or the objects in it. Raises DataError."""
    position = skip_space(text, 0)
    if text[position : position + 1] not in ("[", "{"):
        raise DataError(f"source {path} is not a JSON array; check `format` in params.yaml")
    is_array, number = text[position] == "[", 0
    while position < len(text):
        if is_array and text[position] != "[":
            raise DataError(
                f"source {path} has other text after the end of its JSON array, on line "
                f"{line_of(text, position)}: {text[position : position + 40]!r}; remove it"
            )
        for element in _array(text, position, path, number) if is_array else _objects(text, path):
            number, position = number + 1, element.end
            yield element
        if not is_array:
            return
        position = skip_space(text, text.index("]", position) + 1)


def _array(text: str, start: int, path: Path, before: int = 0) -> Iterator[Element]:
    """The elements of the array that begins at `start`."""
    position, pattern, number = skip_space(text, start + 1), None, before
    while text[position : position + 1] != "]":
        number += 1
        pattern = pattern or _beginning(text, position, ",")
        element = _element(text, position, pattern)
        if element is None:
            raise DataError(
                f"source {path} is broken or cut off: where element {number} of its JSON array "
                f"ends, which begins on line {line_of(text, position)}, cannot be determined; "
                f"correct it, or write one object per line ({number - 1} elements before it)"
            )
        yield element
        position = skip_space(text, element.end)
        if text[position : position + 1] == ",":
            position = skip_space(text, position + 1)


def _objects(text: str, path: Path) -> Iterator[Element]:
    """Objects that follow each other, with or without commas."""
    position, number = skip_space(text, 0), 0
    pattern = _beginning(text, position, "\n")
    while position < len(text):
        number += 1
        element = _element(text, position, pattern) if text[position] == "{" else None
        if element is None:
            raise DataError(
                f"source {path} holds JSON objects over several lines, and number {number}, on "
                f"line {line_of(text, position)}, is broken or cut off; correct it, or write one "
                "object per line"
            )
        yield element
        position = skip_space(text, element.end)
        if text[position : position + 1] == ",":
            position = skip_space(text, position + 1)


def _element(text: str, start: int, pattern: re.Pattern[str] | None) -> Element | None:
    """The element at `start`, rejected if it is broken, or None if its end is unknown."""
    try:
        value, end = STRICT.raw_decode(text, start)
    except RepeatedKeyError as error:
        _, end = LENIENT.raw_decode(text, start)
        return Element(start, end, None, error.rejection)
    except RecursionError:
        return None
    except ValueError as error:
        wrong = error.pos if isinstance(error, json.JSONDecodeError) else start
        rejection = Rejection("not_json", "entry", str(error))
        broken_end = _end_of_broken(text, start, wrong, pattern)
        return None if broken_end is None else Element(start, broken_end, None, rejection)
    return Element(start, end, value)


def _end_of_broken(
    text: str, start: int, wrong: int, pattern: re.Pattern[str] | None
) -> int | None:
    """Where a broken element ends: before the next one, or before the end of the array."""
    following = pattern.finditer(text, start + 1) if pattern else ()
    after = next((match for match in following if match.end() >= wrong), None)
    if after is not None:
        return after.start()
    rest = text.rstrip()
    if not rest.endswith("]") or not rest[:-1].rstrip().endswith("}") or wrong >= len(rest) - 1:
        return None
    return len(rest) - 1


def _beginning(text: str, position: int, separator: str) -> re.Pattern[str] | None:
    """Finds what begins with the same key as the object at `position`."""
    first = FIRST_KEY.match(text, position)
    key = first and re.escape(first[1])
    return re.compile(rf"{separator}\s*(?=\{{\s*{key}\s*:)") if key else None


def members(text: str) -> Iterator[tuple[str, int, int]]:
    """Key, start and end of each value of the object that a text is. Raises ValueError."""
    position = skip_space(text, skip_space(text, 0) + 1)
    while text[position : position + 1] != "}":
        key, end = LENIENT.raw_decode(text, position)
        position = skip_space(text, end)
        start = skip_space(text, position + 1)
        _, end = LENIENT.raw_decode(text, start)
        yield key, start, end
        position = skip_space(text, end)
        if text[position : position + 1] == ",":
            position = skip_space(text, position + 1)


def rows_key(value: dict[str, Any], path: Path) -> str | None:
    """The key under which one object over the whole file holds its rows.

    None if the object itself is a row. Raises DataError if it is a table by columns or by names.
    """
    keys = [key for key in ROWS_KEYS if _are_rows(value.get(key))]
    if len(keys) > 1:
        raise DataError(
            f"source {path} is one JSON object with rows under {' and '.join(keys)}; write the "
            f"rows alone, for example with `jq -c '.{keys[0]}[]'`"
        )
    parts = list(value.values())
    if _are_columns(parts):
        raise DataError(
            f"source {path} is one JSON object, a table by columns; write one object per row with "
            "to_json(orient='records', lines=True)"
        )
    if not keys and len(parts) > 1 and all(isinstance(part, dict) and part for part in parts):
        names = parts[0].keys()
        if all(part.keys() == names for part in parts):
            by_column = all(name.isdigit() for name in names)
            how = "to_json(orient='records', lines=True)" if by_column else "`jq -c '.[]'`"
            what = "a table by columns" if by_column else "rows under names"
            raise DataError(
                f"source {path} is one JSON object, {what}; write one object per row with {how}"
            )
    return keys[0] if keys else None


def _are_columns(parts: list[Any]) -> bool:
    """Whether values are columns: three or more lists of one length, of texts and numbers."""
    return (
        len(parts) > 2
        and all(isinstance(part, list) and len(part) > 1 for part in parts)
        and len({len(part) for part in parts}) == 1
        and not any(isinstance(item, list | dict) for part in parts for item in part)
    )


def _are_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _records(text: str, values: Iterator[Element], file: str) -> Iterator[Record]:
    line, counted = 1, 0
    newline = "\n" if "\n" in text else "\r"
    for number, element in enumerate(values, start=1):
        line, counted = line + text.count(newline, counted, element.start), element.start
        raw, rejection = text[element.start : element.end], element.rejection
        value = element.value if isinstance(element.value, dict) else None
        if value is None and rejection is None:
            kind = type(element.value).__name__
            rejection = Rejection("wrong_type", "entry", f"is {kind}, not an object")
        yield Record(line, raw, value, rejection, file, entry=number)


def line_of(text: str, position: int) -> int:
    """The line of a position, from 1."""
    return text.count("\n" if "\n" in text else "\r", 0, position) + 1


def skip_space(text: str, position: int) -> int:
    """The first position from `position` on that is not white space."""
    match = SPACE.match(text, position)
    return match.end() if match else position
