"""Custom tables: CSV, Parquet or JSON rows that all hold one kind of annotation.

Reads columns that are named like the keys of the interchange format
(`concord.annotations.interchange`). Map other names to these keys with the source's `columns`.
Columns that are not mapped are ignored. For example, the row

    {"question": "Name a colour.", "answer_1": "Red.", "answer_2": "No.", "winner": "a"}

is read by this source:

    format: table
    path: data/raw/answers.csv
    columns: {a: answer_1, b: answer_2, preferred: winner}
    options:
      kind: comparison
      prompt: question
      constants: {objective: helpful, annotator: crowd}

If the interchange format requires a number or a list and the column holds text, as in CSV, the text
is parsed: numbers like 0.5, .5 or 1e-3, lists as JSON. A label may also be true or false.

Makes one annotation of `kind` per row. The group of a row without `group_id` is its first user
turn.

Options:
- `kind`: the kind of annotation: prompt, demonstration, comparison, rating, ranking, binary or
  steps. Required.
- `constants`: key of the interchange format -> value in every row; replaces the column. Default:
  none.
- `prompt`: the column whose text is the only user turn. Default: null, which requires `messages`.
- `system`: the content of a system turn before `prompt`. Default: null, no system turn.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import field
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from concord.annotations.dialogues import group_id, turns
from concord.annotations.fields import shorten, text, wrong_type
from concord.annotations.interchange import FIELDS
from concord.annotations.record import RowError
from concord.stage.params import FORBID, suggest

NUMBERS = ("rating", "label", "margin")
LISTS = ("messages", "scale", "responses", "ranks", "steps", "labels")
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.ASCII | re.IGNORECASE)
BOOLEANS = {"true": 1, "false": 0}


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    kind: Literal["prompt", "demonstration", "comparison", "rating", "ranking", "binary", "steps"]
    """The kind of annotation."""
    constants: dict[str, Any] = field(default_factory=dict)
    """Key of the interchange format -> value in every row. Replaces the column."""
    prompt: str | None = None
    """The column whose text is the prompt; null if `messages` contains it."""
    system: str | None = None
    """The content of a system turn before `prompt`; null for none."""

    def __post_init__(self) -> None:
        allowed = [key for key in FIELDS if key != "kind"]
        for key in self.constants:
            if key not in allowed:
                raise ValueError(
                    f"constants.{key} is not a key of the interchange format; "
                    f"{suggest(key, allowed)}"
                )
        if self.system is not None and self.prompt is None:
            raise ValueError(
                "system requires prompt; set prompt to the column of the prompt, or remove system"
            )


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """Yields the annotation of a row."""
    annotation = {key: converted(key, row[key]) for key in FIELDS if key in row}
    if options.prompt is not None:
        system = [] if options.system is None else [{"role": "system", "content": options.system}]
        annotation["messages"] = [*system, {"role": "user", "content": text(row, options.prompt)}]
    annotation = {**annotation, **options.constants, "kind": options.kind}
    if annotation.get("group_id") is None:
        annotation["group_id"] = group_id(turns(annotation, "messages"))
    yield annotation


def converted(key: str, value: Any) -> Any:
    """Converts text, and boolean labels, to the type that `key` requires. Raises RowError.

    Examples:
        >>> converted("rating", "4"), converted("label", "true"), converted("scale", "[1, 5]")
        (4.0, 1, [1, 5])
    """
    if key == "label" and isinstance(value, bool):
        return int(value)
    if not isinstance(value, str):
        return value
    if key == "label" and value.strip().lower() in BOOLEANS:
        return BOOLEANS[value.strip().lower()]
    if key in NUMBERS:
        return parse_number(key, value)
    return parse_list(key, value) if key in LISTS else value


def parse_number(key: str, value: str) -> float:
    """Parses a number. Unlike `float`, rejects nan, inf and underscores."""
    if not NUMBER.fullmatch(value):
        raise wrong_type(key, "a number", value)
    return float(value)


def parse_list(key: str, value: str) -> Any:
    """Parses JSON. Later checks make sure that it is a list."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise RowError(
            "not_json", key, f"must be a JSON list, but is {shorten(value)}: {error}"
        ) from None
