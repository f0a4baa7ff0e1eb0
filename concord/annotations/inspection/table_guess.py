"""What the columns of a plain table mean: a guess of `columns` and options for the format `table`.

The kind of annotation follows from the columns that are there: two answers and which one is
preferred, an answer and its rating, an answer with yes or no, a list of answers and their ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from concord.annotations import meanings
from concord.annotations.dialogues import TURN_LIST
from concord.annotations.fields import NUMBER, is_empty
from concord.annotations.formats.table import BOOLEANS
from concord.annotations.inspection.names import column_for, two_sides
from concord.annotations.shapes import DOMAIN, OBJECTIVE, Row

EXTRA = ("margin", "annotator", "objective", "domain", "author", "label_kind", "scale")
"""Keys that say nothing about the kind of a table."""
MOST = 12
"""More distinct values than this are not the values of a label."""


class Guess(NamedTuple):
    """How to read a table."""

    options: dict[str, Any]
    columns: dict[str, str]
    keys: tuple[str, ...]
    """The columns of the prompt, the answers and the label."""
    said: tuple[str, ...]
    """What was guessed, in words."""


class Table:
    """The rows of a table, and which of its columns are taken."""

    def __init__(self, rows: Sequence[Row], columns: Sequence[str]) -> None:
        self.rows, self.columns = rows, columns
        self.taken: dict[str, str] = {}
        """Key of the interchange format -> column."""

    def find(self, key: str) -> str | None:
        """Takes the column that is likely meant by `key`."""
        column = column_for(key, self.columns, self.taken.values())
        if column is not None:
            self.taken[key] = column
        return column

    def values(self, column: str) -> list[Any]:
        """The values of a column that are not empty."""
        return [row[column] for row in self.rows if not is_empty(row.get(column))]

    def distinct(self, column: str) -> list[str]:
        """The distinct values as text, sorted; empty if they are too many for a label."""
        values = {text_of(value) for value in self.values(column) if not isinstance(value, list)}
        return sorted(values) if len(values) <= MOST else []


class Kind(NamedTuple):
    """A kind of annotation, with the options that its label needs."""

    name: str
    options: dict[str, Any]
    said: tuple[str, ...]


def text_of(value: Any) -> str:
    """A value as text; whole numbers have no decimal point."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def guess(rows: Sequence[Row], columns: Sequence[str]) -> Guess | None:
    """How to read the rows; None if the columns have no likely meaning."""
    table = Table(rows, columns)
    prompt = prompt_column(table)
    if prompt is None:
        return None
    kind = next((kind for kind in (build(table) for build in KINDS) if kind is not None), None)
    if kind is None:
        return None
    options: dict[str, Any] = {"kind": kind.name, **prompt, **kind.options}
    constants = {**constants_for(table, kind.name), **options.pop("constants", {})}
    if constants:
        options["constants"] = constants
    names = {key: column for key, column in table.taken.items() if key not in (column, "prompt")}
    keys = tuple(column for key, column in table.taken.items() if key not in EXTRA)
    return Guess(options, names, keys, kind.said)


def prompt_column(table: Table) -> dict[str, str] | None:
    """The option `prompt`, or nothing if a column holds turns; None if there is no prompt."""
    for column in table.columns:
        values = table.values(column)
        if values and all(is_turns(value) for value in values):
            table.taken["messages"] = column
            return {}
    prompt = table.find("prompt")
    return None if prompt is None else {"prompt": prompt}


def is_turns(value: Any) -> bool:
    """Whether a value is a list of turns, possibly as JSON text."""
    if isinstance(value, str):
        return TURN_LIST.match(value) is not None
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and not {"role", "from"}.isdisjoint(first)


def comparison(table: Table) -> Kind | None:
    """Two answers, and a column that says which one is preferred."""
    free = [column for column in table.columns if column not in table.taken.values()]
    for one, other in two_sides(free):
        if not (holds_text(table, one) and holds_text(table, other)):
            continue
        before = dict(table.taken)
        table.taken |= {"a": one, "b": other}
        column = table.find("preferred")
        meaning = None if column is None else meanings.sides(table.distinct(column), one, other)
        if meaning is not None:
            table.find("margin")
            said = f"which value of {column} prefers {one}"
            return Kind("comparison", *meaning_options("preferred", meaning, said))
        table.taken = before
    return None


def chosen_pair(table: Table) -> Kind | None:
    """An answer that was preferred and one that was not."""
    before = dict(table.taken)
    one, other = table.find("chosen"), table.find("rejected")
    if one is None or other is None or not (holds_text(table, one) and holds_text(table, other)):
        table.taken = before
        return None
    table.taken = {**before, "a": one, "b": other}
    table.find("margin")
    said = (f"that {one} is the preferred answer",)
    return Kind("comparison", {"constants": {"preferred": "a"}}, said)


def ranking(table: Table) -> Kind | None:
    """A list of answers and a list of their ranks."""
    return both(table, "responses", "ranks", "ranking")


def steps(table: Table) -> Kind | None:
    """A list of steps and a list of their labels."""
    return both(table, "steps", "labels", "steps")


def both(table: Table, first: str, second: str, kind: str) -> Kind | None:
    """A kind that needs two columns with lists."""
    before = dict(table.taken)
    columns = table.find(first), table.find(second)
    if all(column is not None and holds_lists(table, column) for column in columns):
        return Kind(kind, {}, (f"that {columns[1]} belongs to {columns[0]}",))
    table.taken = before
    return None


def rating(table: Table) -> Kind | None:
    """An answer and its rating."""
    before = dict(table.taken)
    answer, column = table.find("response"), table.find("rating")
    if answer is None or column is None or not holds_text(table, answer):
        table.taken = before
        return None
    ordered = meanings.grades(table.distinct(column))
    if ordered is not None:
        places, best = ordered
        options = {"values": {"rating": places}, "constants": {"scale": [0, best]}}
        return Kind("rating", options, (f"the order of the grades in {column}",))
    given = meanings.numbers(table.values(column))
    if not given:
        table.taken = before
        return None
    if table.find("scale") is not None:
        return Kind("rating", {}, ())
    said = f"the scale, from ratings of {min(given):g} to {max(given):g}"
    return Kind("rating", {"constants": {"scale": meanings.scale(given)}}, (said,))


def binary(table: Table) -> Kind | None:
    """An answer that is good or not."""
    before = dict(table.taken)
    answer, column = table.find("response"), table.find("label")
    given = [] if column is None else table.distinct(column)
    plain_words = {"0", "1", *BOOLEANS}
    if answer is not None and given and holds_text(table, answer):
        if all(word.strip().casefold() in plain_words for word in given):
            return Kind("binary", {}, (f"that {column} judges {answer}",))
        meaning = meanings.good_or_bad(given)
        if meaning is not None:
            said = f"which value of {column} is good"
            return Kind("binary", *meaning_options("label", meaning, said))
    table.taken = before
    return None


def demonstration(table: Table) -> Kind | None:
    """An answer to imitate."""
    answer = table.find("response")
    if answer is None or not holds_text(table, answer):
        return None
    return Kind("demonstration", {}, (f"that {answer} is an answer to imitate",))


def unanswered(table: Table) -> Kind | None:
    """A prompt, possibly with the right answer."""
    table.taken.pop("response", None)
    table.find("reference")
    others = [
        column
        for column in table.columns
        if column not in table.taken.values() and holds_text(table, column)
    ]
    return None if others and len(table.columns) > 1 else Kind("prompt", {}, ())


KINDS = (comparison, chosen_pair, ranking, steps, rating, binary, demonstration, unanswered)
"""The kinds of annotation, in the order in which they are tried."""


def meaning_options(
    key: str, meaning: dict[str, Any], said: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The option `values` for a label, and what was guessed."""
    return ({"values": {key: meaning}}, (said,)) if meaning else ({}, ())


def constants_for(table: Table, kind: str) -> dict[str, Any]:
    """What every annotation of a kind needs and no column holds."""
    needed: dict[str, Any] = {"objective": OBJECTIVE, "annotator": "unknown"}
    if kind == "steps":
        needed = {"objective": OBJECTIVE, "label_kind": "human"}
    elif kind == "demonstration":
        needed = {"domain": DOMAIN, "author": "unknown"}
    elif kind == "prompt":
        needed = {"domain": DOMAIN}
    return {key: value for key, value in needed.items() if table.find(key) is None}


def holds_text(table: Table, column: str) -> bool:
    """Whether a column holds text, not only numbers."""
    values = table.values(column)
    return all(isinstance(value, str) for value in values) and any(
        not NUMBER.fullmatch(value) for value in values
    )


def holds_lists(table: Table, column: str) -> bool:
    """Whether a column holds lists, possibly as JSON text."""
    values = table.values(column)
    return bool(values) and all(
        isinstance(value, list) or (isinstance(value, str) and value.lstrip().startswith("["))
        for value in values
    )


def looks_like_data(columns: Sequence[str]) -> bool:
    """Whether the names of the columns look like values, as in a file without a header."""
    return any(
        NUMBER.fullmatch(name) or len(name) > 60 or not meanings.plain(name) for name in columns
    )
