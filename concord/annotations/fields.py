"""Typed access to the values of a JSON object.

Each function returns the value under a key, or raises a RowError that names the key and says what
is wrong with the value. The argument `column` replaces the key in the error.
"""

import ast
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from concord.annotations.record import RowError, unique_keys

Object = Mapping[str, Any]
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.ASCII | re.IGNORECASE)
EMPTY = {"", "-", "na", "n/a", "nan", "none", "null"}
"""Texts that stand for an empty cell, in lower case."""
TRUTH = dict.fromkeys(("true", "yes", "1", "1.0", "correct", "right", "good", "desirable"), True)
TRUTH |= dict.fromkeys(
    ("false", "no", "0", "0.0", "incorrect", "wrong", "bad", "undesirable"), False
)
PYTHON_TEXT = re.compile(r"\s*\[?\s*\{\s*'")


def required(record: Object, key: str, column: str | None = None) -> Any:
    """A value of any type except null."""
    value = record.get(key)
    if value is None:
        raise RowError("missing_key", column or key, f"there is no `{key}`")
    return value


def text(record: Object, key: str, column: str | None = None) -> str:
    """A string that can be encoded as UTF-8."""
    value = record.get(key)
    if type(value) is not str:
        raise wrong_type(column or key, "text", required(record, key, column))
    if not (value.isascii() or _encodable(value)):
        raise RowError(
            "not_utf8", column or key, "contains a lone surrogate, which UTF-8 cannot encode"
        )
    return value


def person(record: Object, key: str = "annotator") -> str:
    """Who judged: text, or a whole number.

    Examples:
        >>> person({"annotator": 17})
        '17'
    """
    value = record.get(key)
    return str(value) if type(value) is int else text(record, key)


def number(record: Object, key: str, column: str | None = None) -> float:
    """A finite number, or text that is one, such as 0.5 or 1e-3. Booleans are not numbers."""
    value = required(record, key, column)
    if isinstance(value, str) and NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(column or key, "a number", value)
    # The comparison comes first: isfinite raises OverflowError for integers beyond the floats.
    if abs(value) > 1e300 or not math.isfinite(value):
        raise RowError("off_scale", column or key, "is not finite")
    return float(value)


def integer(record: Object, key: str, column: str | None = None) -> int:
    """A whole number; 3.0 counts as 3."""
    value = number(record, key, column)
    if not value.is_integer():
        raise wrong_type(column or key, "a whole number", value)
    return int(value)


def boolean(record: Object, key: str, column: str | None = None) -> bool:
    """True or false."""
    value = required(record, key, column)
    if not isinstance(value, bool):
        raise wrong_type(column or key, "true or false", value)
    return value


def truth(record: Object, key: str, column: str | None = None) -> bool:
    """True or false, also as 0 and 1, or as text: true, yes, 1, correct, false, no, 0, wrong.

    Examples:
        >>> truth({"label": "True"}, "label"), truth({"label": 0.0}, "label")
        (True, False)
    """
    value = required(record, key, column)
    written = str(value).strip().casefold()
    if not isinstance(value, bool | int | float | str) or written not in TRUTH:
        raise wrong_type(column or key, "true or false, or 1 or 0", value)
    return TRUTH[written]


def is_empty(value: Any) -> bool:
    """Whether a cell is empty: null, NaN, or a text such as N/A.

    Examples:
        >>> is_empty(" n/a "), is_empty(0)
        (True, False)
    """
    if isinstance(value, str):
        return value.strip().casefold() in EMPTY
    return value is None or (isinstance(value, float) and math.isnan(value))


def given(record: Object, key: str, column: str | None = None) -> Any:
    """The value of a label. Raises RowError `no_label` if the cell is there but empty."""
    if key in record and is_empty(record[key]):
        raise RowError("no_label", column or key, "is empty, so there is no label to learn from")
    return required(record, key, column)


def items(record: Object, key: str, column: str | None = None) -> list[Any]:
    """A list, also as JSON text, or as `datasets` stores a list of objects: an object of lists."""
    value = record.get(key)
    if isinstance(value, list):
        return value
    value = listed(structure(required(record, key, column), column or key))
    if not isinstance(value, list):
        raise wrong_type(column or key, "a list", record[key])
    return value


def mapping(record: Object, key: str, column: str | None = None) -> dict[str, Any]:
    """A JSON object, also as JSON text."""
    value = structure(required(record, key, column), column or key)
    if not isinstance(value, dict):
        raise wrong_type(column or key, "an object", value)
    return value


def structure(value: Any, column: str) -> Any:
    """The list or object that a text holds, as in a CSV file; another value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        return parsed(value, column)
    return value


def parsed(value: str, key: str) -> Any:
    """What is written as JSON text, or as Python writes it. Raises RowError."""
    try:
        if PYTHON_TEXT.match(value):
            return ast.literal_eval(value.strip())
        return json.loads(value, object_pairs_hook=unique_keys)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        detail = f"must be JSON, but is {shorten(value)}: {' '.join(str(error).split())}"
        raise RowError("not_json", key, detail) from None


def listed(value: Any) -> Any:
    """An object of lists of one length as a list of objects; another value as it is.

    Examples:
        >>> listed({"text": ["Red.", "No."], "rank": [1, 2]})
        [{'text': 'Red.', 'rank': 1}, {'text': 'No.', 'rank': 2}]
    """
    if not isinstance(value, dict) or not value:
        return value
    if not all(isinstance(part, list) for part in value.values()):
        return value
    if len({len(part) for part in value.values()}) > 1:
        return value
    return [dict(zip(value, parts, strict=True)) for parts in zip(*value.values(), strict=True)]


def texts(record: Object, key: str) -> list[str]:
    """A list of strings."""
    return [text({key: item}, key) for item in items(record, key)]


def mappings(record: Object, key: str) -> list[dict[str, Any]]:
    """A list of JSON objects."""
    return [mapping({key: item}, key) for item in items(record, key)]


def one_of(record: Object, key: str, allowed: Mapping[str, Any]) -> Any:
    """Looks up the string under `key` in `allowed` and returns the entry."""
    value = text(record, key)
    if value not in allowed:
        raise RowError("off_scale", key, f"is {shorten(value)}; allowed: {', '.join(allowed)}")
    return allowed[value]


def wrong_type(column: str, expected: str, value: Any) -> RowError:
    """The error for a value of the wrong type."""
    return RowError("wrong_type", column, f"must be {expected}, but is {shorten(value)}")


def shorten(value: Any) -> str:
    """The `repr` of a value, truncated to 80 characters.

    Examples:
        >>> shorten("Blue.")
        "'Blue.'"
        >>> len(shorten("x" * 200))
        80
    """
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _encodable(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)
