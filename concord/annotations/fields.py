"""Typed access to the values of a JSON object.

Each function returns the value under a key, or raises a RowError that names the key and says what
is wrong with the value. The argument `column` replaces the key in the error.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from concord.annotations.record import RowError

Object = Mapping[str, Any]
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.ASCII | re.IGNORECASE)
EMPTY = {"", "-", "na", "n/a", "nan", "none", "null"}
"""Texts that stand for an empty cell, in lower case."""
TRUTH = {"true": True, "yes": True, "1": True, "1.0": True}
TRUTH |= {"false": False, "no": False, "0": False, "0.0": False}


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
    """True or false, also as 0 and 1, or as text: true, yes, 1, false, no, 0.

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
    """A list."""
    value = record.get(key)
    if not isinstance(value, list):
        raise wrong_type(column or key, "a list", required(record, key, column))
    return value


def mapping(record: Object, key: str, column: str | None = None) -> dict[str, Any]:
    """A JSON object."""
    value = required(record, key, column)
    if not isinstance(value, dict):
        raise wrong_type(column or key, "an object", value)
    return value


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
