"""The fields of a dataclass of parameters as a Markdown table."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from concord.stage.field_docs import field_docs
from docs.markdown import cell, table

WORDS = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "null"}
BOUNDS = {
    "ge": "at least",
    "gt": "above",
    "le": "at most",
    "lt": "below",
    "min_length": "length at least",
}
MEANINGS = {"method": "Selects this method."}
"""Meaning of a field that has no string under it."""


def type_words(hint: Any, links: Callable[[type], str]) -> str:
    """A type as people read it: `integer (at least 1)`, `text or null`, `mapping to number`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        bounds = [limit for extra in arguments[1:] for limit in bound_words(extra)]
        words = type_words(arguments[0], links)
        return f"{words} ({', '.join(bounds)})" if bounds else words
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_words(argument, links) for argument in arguments)
    if origin in (dict, Mapping):
        return f"mapping to {type_words(arguments[1], links)}"
    if origin in (list, tuple, Sequence):
        return f"list of {type_words(arguments[0], links)}"
    if hint in WORDS:
        return WORDS[hint]
    if dataclasses.is_dataclass(hint):
        return links(typing.cast(type, hint))
    return "anything" if hint is Any else f"`{getattr(hint, '__name__', hint)}`"


def bound_words(extra: Any) -> Iterator[str]:
    """The limits that a pydantic Field sets, in words."""
    for item in getattr(extra, "metadata", [extra]):
        for name, words in BOUNDS.items():
            if (value := getattr(item, name, None)) is not None:
                yield f"{words} {value}"
        if (pattern := getattr(item, "pattern", None)) is not None:
            yield f"matching `{pattern}`"


def default_words(cls: type, name: str) -> str:
    """The default of a field as YAML would write it, or `required`."""
    field = cls.__pydantic_fields__[name]  # type: ignore[attr-defined]
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return f"`{instance_words(value)}`"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def instance_words(value: Any) -> str:
    """The fields of a dataclass that differ from their defaults, as YAML would write them."""
    fields = type(value).__pydantic_fields__
    given = {
        name: getattr(value, name)
        for name, field in fields.items()
        if field.is_required()
        or getattr(value, name) != field.get_default(call_default_factory=True)
    }
    inner = ", ".join(f"{name}: {json.dumps(item)}" for name, item in given.items())
    return f"{{{inner}}}"


def fields_table(cls: type, links: Callable[[type], str]) -> str:
    """Key, type, default and meaning of every field of a dataclass."""
    hints, docs = typing.get_type_hints(cls, include_extras=True), field_docs(cls)
    rows = [
        (
            f"`{field.name}`",
            type_words(hints[field.name], links).replace("|", "\\|"),
            default_words(cls, field.name).replace("|", "\\|"),
            cell(docs.get(field.name, MEANINGS.get(field.name, ""))),
        )
        for field in dataclasses.fields(cls)
    ]
    return table(["key", "type", "default", "meaning"], rows)


def nested(cls: type) -> Iterator[type]:
    """The dataclasses that the fields of a dataclass are of, at any depth."""
    for hint in typing.get_type_hints(cls, include_extras=True).values():
        yield from dataclasses_in(hint)


def dataclasses_in(hint: Any) -> Iterator[type]:
    """The dataclasses that a type names."""
    if dataclasses.is_dataclass(hint):
        yield typing.cast(type, hint)
        yield from nested(typing.cast(type, hint))
    arguments = typing.get_args(hint)
    for argument in arguments[:1] if typing.get_origin(hint) is Annotated else arguments:
        yield from dataclasses_in(argument)
