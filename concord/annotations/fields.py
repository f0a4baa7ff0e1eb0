"""Values of an object by key, each demanded to be what it should be: a RowError says which key is not, and why."""

import math
from collections.abc import Mapping
from typing import Any

from concord.annotations.record import RowError

Object = Mapping[str, Any]


def value(record: Object, key: str, column: str | None = None) -> Any:
    """Whatever stands under `key`, which must not be null. `column` is what an error names, `key` by default."""
    found = record.get(key)
    if found is None:
        raise RowError("missing_key", column or key, f"there is no `{key}`")
    return found


def text(record: Object, key: str, column: str | None = None) -> str:
    """Text that UTF-8 can hold."""
    found = record.get(key)
    if type(found) is not str:
        raise wrong(column or key, "text", value(record, key, column))
    if not (found.isascii() or _encodable(found)):
        raise RowError(
            "not_utf8", column or key, "holds half of a surrogate pair, which no UTF-8 text can"
        )
    return found


def number(record: Object, key: str, column: str | None = None) -> float:
    """A finite number; true and false are none."""
    found = value(record, key, column)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise wrong(column or key, "a number", found)
    if abs(found) > 1e300 or not math.isfinite(
        found
    ):  # in this order: whole numbers may exceed every float
        raise RowError("off_scale", column or key, "is not finite")
    return float(found)


def whole(record: Object, key: str, column: str | None = None) -> int:
    """A whole number."""
    found = number(record, key, column)
    if not found.is_integer():
        raise wrong(column or key, "a whole number", found)
    return int(found)


def truth(record: Object, key: str, column: str | None = None) -> bool:
    """True or false."""
    found = value(record, key, column)
    if not isinstance(found, bool):
        raise wrong(column or key, "true or false", found)
    return found


def items(record: Object, key: str, column: str | None = None) -> list[Any]:
    """A list."""
    found = record.get(key)
    if not isinstance(found, list):
        raise wrong(column or key, "a list", value(record, key, column))
    return found


def mapping(record: Object, key: str, column: str | None = None) -> dict[str, Any]:
    """An object."""
    found = value(record, key, column)
    if not isinstance(found, dict):
        raise wrong(column or key, "an object", found)
    return found


def texts(record: Object, key: str) -> list[str]:
    """A list of texts."""
    return [text({key: item}, key) for item in items(record, key)]


def members(record: Object, key: str) -> list[dict[str, Any]]:
    """A list of objects."""
    return [mapping({key: item}, key) for item in items(record, key)]


def one_of(record: Object, key: str, allowed: Mapping[str, Any]) -> Any:
    """What `allowed` says of the text under `key`."""
    found = text(record, key)
    if found not in allowed:
        raise RowError("off_scale", key, f"is {short(found)}; allowed: {', '.join(allowed)}")
    return allowed[found]


def wrong(column: str, wanted: str, given: Any) -> RowError:
    """The error for a value of another type."""
    return RowError("wrong_type", column, f"must be {wanted}, but is {short(given)}")


def short(given: Any) -> str:
    """A value as people may read it, 80 characters at most."""
    shown = repr(given)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _encodable(found: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in found)
