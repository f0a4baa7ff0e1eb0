"""What the columns of a plain table mean: a guess of `columns` and options for the format `table`.

The kind of annotation follows from the columns that are there: two answers and which one is
preferred, an answer and its rating, an answer with yes or no, a list of answers and their ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from concord.annotations.inspection.guessed_kinds import KINDS, Kind
from concord.annotations.inspection.unknown_table import Table, holds_text, is_turns, leaves
from concord.annotations.shapes import DOMAIN, OBJECTIVE, Row

EXTRA = ("margin", "annotator", "objective", "domain", "author", "label_kind", "scale")
"""Keys that say nothing about the kind of a table."""


class Guess(NamedTuple):
    """How to read a table."""

    options: dict[str, Any]
    columns: dict[str, str]
    keys: tuple[str, ...]
    """The columns of the prompt, the answers and the label."""
    said: tuple[str, ...]
    """What was guessed, in words."""


def guess(rows: Sequence[Row]) -> Guess | None:
    """How to read the rows; None if the columns have no likely meaning."""
    table = Table(rows, leaves(rows))
    prompt = prompt_column(table)
    if prompt is None:
        return None
    kind = next((kind for kind in (build(table) for build in KINDS) if kind is not None), None)
    if kind is None:
        return None
    options: dict[str, Any] = {"kind": kind.name, **prompt, **kind.options}
    constants = {**constants_for(table, kind), **options.pop("constants", {})}
    if constants:
        options["constants"] = constants
    names = {key: column for key, column in table.taken.items() if key not in (column, "prompt")}
    keys = tuple(column for key, column in table.taken.items() if key not in EXTRA)
    keys += tuple(kind.options.get("objectives", {}).values())
    return Guess(options, names, keys, kind.said)


def prompt_column(table: Table) -> dict[str, str] | None:
    """The option `prompt`, or nothing if a column holds turns; None if there is no prompt."""
    for column in table.columns:
        values = table.values(column)
        if values and all(is_turns(value) for value in values):
            table.taken["messages"] = column
            return {}
    prompt = table.find("prompt")
    return {"prompt": prompt} if prompt is not None and holds_text(table, prompt) else None


def constants_for(table: Table, kind: Kind) -> dict[str, Any]:
    """What every annotation of a kind needs and no column holds."""
    needed: dict[str, Any] = {"objective": OBJECTIVE, "annotator": "unknown"}
    if kind.name == "steps":
        needed = {"objective": OBJECTIVE, "label_kind": "human"}
    elif kind.name == "demonstration":
        needed = {"domain": DOMAIN, "author": "unknown"}
    elif kind.name == "prompt":
        needed = {"domain": DOMAIN}
    if "objectives" in kind.options:
        needed.pop("objective")
    return {key: value for key, value in needed.items() if table.find(key) is None}
