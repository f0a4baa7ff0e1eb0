"""Every value of a section of params.yaml: whether it was given, and what it means.

section = explain("sft", section(SftParams, given, "sft"), given)
section.value()          # the section as plain dicts and lists, with every default
"\n".join(lines(section))   # the same as YAML, with a comment on each line
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from concord.stage.field_docs import field_docs, in_short

GIVEN, DEFAULT = "given", "default"
PLAIN = re.compile(r"[A-Za-z_][\w./-]*( [\w./-]+)*")
"""Texts that YAML reads as text without quotes, unless they are one of `WORDS`."""
WORDS = {"null", "true", "false", "yes", "no", "on", "off", "nan", "inf"}
WIDTH = 44
"""Column of the comments."""


@dataclass(frozen=True)
class Entry:
    """A key of params.yaml with its value, or with the entries below it."""

    key: str
    content: Any
    """A plain value, or the list of the entries below."""
    given: bool
    meaning: str
    """One sentence; may be empty."""

    def value(self) -> Any:
        """The value as YAML would load it."""
        if isinstance(self.content, tuple):
            return {entry.key: entry.value() for entry in self.content}
        return self.content


def explain(key: str, value: Any, given: Any, meaning: str | None = None) -> Entry:
    """`value` with what it means.

    Args:
        key: the key of the value.
        value: an instance of a dataclass, a mapping from names to instances, or a plain value.
        given: what the recipe says in its place; `...` if it says nothing.
        meaning: the meaning of the key; None for that of the dataclass.
    """
    keys = given if isinstance(given, Mapping) else {}
    text = _meaning(type(value)) if meaning is None else in_short(meaning)
    if dataclasses.is_dataclass(value):
        docs = field_docs(type(value))
        children = [
            explain(
                field.name,
                getattr(value, field.name),
                keys.get(field.name, ...),
                docs.get(field.name, ""),
            )
            for field in dataclasses.fields(value)
        ]
    elif isinstance(value, Mapping) and any(map(dataclasses.is_dataclass, value.values())):
        children = [explain(name, one, keys.get(name, ...), "") for name, one in value.items()]
    else:
        return Entry(key, plain(value), given is not ..., text)
    return Entry(key, tuple(children), given is not ..., text)


def _meaning(cls: type) -> str:
    """The first sentence of a dataclass; empty if it only repeats the name of its section."""
    text = inspect.cleandoc(cls.__doc__ or "") if dataclasses.is_dataclass(cls) else ""
    return "" if text.startswith(("The section", "One entry of")) else in_short(text)


def plain(value: Any) -> Any:
    """The value as dicts, lists and scalars."""
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(one) for one in value]
    return value


def lines(entry: Entry, depth: int = 0) -> Iterator[str]:
    """The entry as YAML, with where each value comes from and what it means as comments."""
    start = f"{'  ' * depth}{entry.key}:"
    if isinstance(entry.content, tuple) and entry.content:
        yield _commented(start, entry.meaning)
        for child in entry.content:
            yield from lines(child, depth + 1)
        return
    origin = GIVEN if entry.given else DEFAULT
    note = f"{origin}: {entry.meaning}" if entry.meaning else origin
    yield _commented(f"{start} {flow(entry.value())}", note)


def _commented(text: str, comment: str) -> str:
    return f"{text:<{WIDTH}}  # {comment}" if comment else text


def flow(value: Any) -> str:
    """A value as YAML in one line.

    Examples:
        >>> flow({"path": "data/a.csv", "scale": [1, 5], "rows": None})
        '{path: data/a.csv, scale: [1, 5], rows: null}'
    """
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{flow(key)}: {flow(one)}' for key, one in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(flow, value))}]"
    if isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)
