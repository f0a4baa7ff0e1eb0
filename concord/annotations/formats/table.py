"""Plain rows: a CSV, Parquet or JSON file whose columns hold what annotations of one kind need.

A column that has the name of a key of the interchange format (`concord.annotations.interchange`) is that key; columns of
other names are brought to it by the source's `columns`, or ignored. What is the same for every row stands in
`constants`, which take the place of columns. Where the interchange format demands a number or a list and a column holds
text, as in CSV, the text is read: a number as 0.5, .5 or 1e-3, a label also as true or false, a list as JSON. The group
of a row without `group_id` is the user's first turn.

    kind: comparison                     columns: {a: answer_1, b: answer_2, preferred: winner}
    prompt: question                     constants: {objective: helpful, annotator: crowd}

Options: `kind` (of the interchange format), `constants` (key -> value; none), `prompt` (column whose text is the user's
only turn; without it `messages` is needed), `system` (what the system says before it; nothing).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import field
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from concord.annotations.dialogues import group, turns
from concord.annotations.fields import short, text, wrong
from concord.annotations.interchange import FIELDS
from concord.annotations.record import RowError
from concord.stage.params import FORBID, suggest

NUMBERS = ("rating", "label", "margin")
LISTS = ("messages", "scale", "responses", "ranks", "steps", "labels")
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.ASCII | re.IGNORECASE)
TRUTHS = {"true": 1, "false": 0}


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    kind: Literal["prompt", "demonstration", "comparison", "rating", "ranking", "binary", "steps"]
    """What a row is."""
    constants: dict[str, Any] = field(default_factory=dict)
    """Keys of the interchange format -> the value that every row has."""
    prompt: str | None = None
    """Column whose text is the prompt; null where `messages` holds it."""
    system: str | None = None
    """The system's turn before the prompt; null for none."""

    def __post_init__(self) -> None:
        allowed = [key for key in FIELDS if key != "kind"]
        for key in self.constants:
            if key not in allowed:
                raise ValueError(
                    f"constants.{key} is no key of the interchange format; {suggest(key, allowed)}"
                )
        if self.system is not None and self.prompt is None:
            raise ValueError(
                "system needs prompt, before which it stands; name the prompt's column, or leave it out"
            )


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """The row as an annotation."""
    made = {key: converted(key, row[key]) for key in FIELDS if key in row}
    if options.prompt is not None:
        system = [] if options.system is None else [{"role": "system", "content": options.system}]
        made["messages"] = [*system, {"role": "user", "content": text(row, options.prompt)}]
    made = {**made, **options.constants, "kind": options.kind}
    if made.get("group_id") is None:
        made["group_id"] = group(turns(made, "messages"))
    yield made


def converted(key: str, found: Any) -> Any:
    """A value as the interchange format demands it under `key`, where it is text or true or false."""
    if key == "label" and isinstance(found, bool):
        return int(found)
    if not isinstance(found, str):
        return found
    if key == "label" and found.strip().lower() in TRUTHS:
        return TRUTHS[found.strip().lower()]
    if key in NUMBERS:
        return number(key, found)
    return decoded(key, found) if key in LISTS else found


def number(key: str, found: str) -> float:
    """Text as a number."""
    if not NUMBER.fullmatch(found):
        raise wrong(key, "a number", found)
    return float(found)


def decoded(key: str, found: str) -> Any:
    """Text as the list that its JSON is."""
    try:
        return json.loads(found)
    except (ValueError, RecursionError) as error:
        raise RowError(
            "not_json", key, f"must be a list as JSON, but is {short(found)}: {error}"
        ) from None
