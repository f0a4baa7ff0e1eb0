"""Kinds of annotation that a plain table may hold, each with the options that its label needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from concord.annotations import meanings
from concord.annotations.fields import NUMBER
from concord.annotations.formats.table import BOOLEANS
from concord.annotations.inspection.names import (
    column_for,
    judges,
    measures,
    names_author,
    two_sides,
)
from concord.annotations.inspection.unknown_table import (
    MOST,
    Table,
    flat,
    holds_lists,
    holds_objects,
    holds_text,
)


class Kind(NamedTuple):
    """A kind of annotation, with the options that its label needs."""

    name: str
    options: dict[str, Any]
    said: tuple[str, ...]


def comparison(table: Table) -> Kind | None:
    """Two answers, and a column for each objective that says which one is preferred."""
    for one, other in two_sides(table.free()):
        if names_author(one) or not (holds_text(table, one) and holds_text(table, other)):
            continue
        before = dict(table.taken)
        table.taken |= {"a": one, "b": other}
        column = table.find("preferred")
        if column is not None and (kind := one_preference(table, column, one, other)):
            return kind
        table.taken = {**before, "a": one, "b": other}
        if kind := several_preferences(table, one, other):
            return kind
        table.taken = dict(before)
    return None


def one_preference(table: Table, column: str, one: str, other: str) -> Kind | None:
    """Two answers, and a column that says which one is preferred."""
    meaning = meanings.sides(table.distinct(column), one, other)
    if meaning is None:
        return None
    table.taken["preferred"] = column
    table.find("margin")
    said = f"which value of {column} prefers {one}"
    return Kind("comparison", *meaning_options("preferred", meaning, said))


def several_preferences(table: Table, one: str, other: str) -> Kind | None:
    """Two answers, and a column for each of several objectives. One alone is a preference."""
    meaning: dict[str, str] = {}
    columns = []
    for column in table.free():
        said = table.distinct(column)
        if not said or measures(column):
            continue
        if (known := meanings.named_sides(said, one, other)) is not None:
            columns.append(column)
            meaning |= known
    if len(columns) < 2:
        return one_preference(table, columns[0], one, other) if columns else None
    is_known = all(meanings.word(value) in meanings.WORDS for value in meaning)
    options = {} if is_known else {"values": {"preferred": meaning}}
    text = f"that {' and '.join(columns)} say which answer is preferred"
    return Kind("comparison", {"objectives": objectives(columns), **options}, (text,))


def objectives(columns: Sequence[str]) -> dict[str, str]:
    """Objective -> the column with its label."""
    return {meanings.as_objective(column): column for column in columns}


def chosen_pair(table: Table) -> Kind | None:
    """An answer that was preferred and one that was not."""
    before = dict(table.taken)
    one, other = table.find("chosen"), table.find("rejected")
    if one is None or other is None or not (holds_text(table, one) and holds_text(table, other)):
        table.taken = dict(before)
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
    """A kind that needs two columns with lists, or one with a list of objects."""
    before = dict(table.taken)
    columns = table.find(first), table.find(second)
    if not all(column is not None and holds_lists(table, column) for column in columns):
        table.taken = dict(before)
        columns = parts_of_objects(table, first, second)
    if (
        None not in columns
        and (options := label_options(table, str(columns[1]), second)) is not None
    ):
        return Kind(kind, options, (f"that {columns[1]} belongs to {columns[0]}",))
    table.taken = dict(before)
    return None


def parts_of_objects(table: Table, first: str, second: str) -> tuple[str | None, str | None]:
    """The paths of the texts and of their labels in a column with lists of objects."""
    column = table.find(first)
    given = [] if column is None else table.values(column)
    objects = [item for value in given if isinstance(value, list) for item in value]
    if not objects or not all(isinstance(item, dict) for item in objects):
        return None, None
    names = list(objects[0])
    text, label = column_for("item", names), column_for(second, names)
    if text is None or label is None:
        return None, None
    table.taken |= {first: f"{column}[].{text}", second: f"{column}[].{label}"}
    return table.taken[first], table.taken[second]


def label_options(table: Table, column: str, key: str) -> dict[str, Any] | None:
    """The option `values` for lists of labels; None if their meaning is unknown."""
    said = table.distinct(column)
    numbers = [NUMBER.fullmatch(value) is not None for value in said]
    if key == "ranks":
        return {} if all(numbers) and "0" not in said else None
    if all(numbers) and all(0 <= float(value) <= 1 for value in said):
        return {}
    meaning = meanings.good_or_bad(said)
    return None if meaning is None else {"values": {key: meaning}}


def rating(table: Table) -> Kind | None:
    """An answer and its rating, or several ratings."""
    before = dict(table.taken)
    answer = table.find("response")
    if answer is None or not holds_text(table, answer):
        table.taken = dict(before)
        return rated_lists(table)
    column = table.find("rating")
    kind = several_ratings(table) if column is None else one_rating(table, column)
    if kind is None:
        table.taken = dict(before)
    return kind


def rated_lists(table: Table) -> Kind | None:
    """A list of answers and a list of their ratings, or a list of objects with both."""
    before = dict(table.taken)
    answers, column = table.find("responses"), table.find("ratings")
    if answers is None or column is None or not holds_lists(table, column):
        table.taken = dict(before)
        answers, column = parts_of_objects(table, "responses", "ratings")
    given = [] if column is None else meanings.numbers(flat(table.values(column)))
    if not given:
        table.taken = dict(before)
        return None
    table.taken["response"], table.taken["rating"] = (
        table.taken.pop("responses"),
        table.taken.pop("ratings"),
    )
    said = f"the scale, from ratings of {min(given):g} to {max(given):g} in {column}"
    return Kind("rating", {"constants": {"scale": meanings.scale(given)}}, (said,))


def one_rating(table: Table, column: str) -> Kind | None:
    """The kind of a column with a rating of each answer."""
    said = table.distinct(column)
    is_numeric = all(NUMBER.fullmatch(value) for value in said)
    if not is_numeric and (ordered := meanings.grades(said)) is not None:
        places, best = ordered
        options = {"values": {"rating": places}, "constants": {"scale": [0, best]}}
        return Kind("rating", options, (f"the order of the grades in {column}",))
    if not is_numeric and (written := meanings.written_ratings(said)) is not None:
        options = {"values": {"rating": written[0]}, "constants": {"scale": written[1]}}
        return Kind("rating", options, (f"the number that each rating in {column} stands for",))
    given = meanings.numbers(table.values(column))
    if not given:
        return None
    if table.find("scale") is not None:
        return Kind("rating", {}, ())
    scale = f"the scale, from ratings of {min(given):g} to {max(given):g}"
    return Kind("rating", {"constants": {"scale": meanings.scale(given)}}, (scale,))


def several_ratings(table: Table) -> Kind | None:
    """An answer with a rating for each of several objectives, all on one scale."""
    columns, given = [], []
    for column in table.free():
        numbers = meanings.numbers(table.values(column))
        is_whole = len(numbers) == len(table.values(column)) and 1 < len({*numbers}) <= MOST
        if is_whole and not measures(column) and tuple(meanings.scale(numbers)) in meanings.SCALES:
            columns.append(column)
            given += numbers
    if not columns:
        return None
    options = {"objectives": objectives(columns), "constants": {"scale": meanings.scale(given)}}
    said = f"that {' and '.join(columns)} rate the answer, from {min(given):g} to {max(given):g}"
    return Kind("rating", options, (said,))


def binary(table: Table) -> Kind | None:
    """An answer that is good or not."""
    before = dict(table.taken)
    answer, column = table.find("response"), table.find("label") or table.find("rating")
    if column is not None and table.taken.get("rating") == column:
        table.taken["label"] = table.taken.pop("rating")
    given = [] if column is None else table.distinct(column)
    plain_words = {"0", "1", *BOOLEANS}
    if answer is not None and given and holds_text(table, answer):
        if all(word.strip().casefold() in plain_words for word in given):
            return Kind("binary", {}, (f"that {column} judges {answer}",))
        meaning = meanings.good_or_bad(given)
        if meaning is not None:
            said = f"which value of {column} is good"
            return Kind("binary", *meaning_options("label", meaning, said))
    table.taken = dict(before)
    return None


def demonstration(table: Table) -> Kind | None:
    """An answer to imitate. Rows that also judge it are no demonstrations."""
    answer = table.find("response")
    if answer is None or not holds_text(table, answer) or any(map(judges, table.free())):
        return None
    return Kind("demonstration", {}, (f"that {answer} is an answer to imitate",))


def unanswered(table: Table) -> Kind | None:
    """A prompt, possibly with the right answer. Rows with answers or labels are no prompts."""
    table.taken.pop("response", None)
    table.find("reference")
    others = [
        column
        for column in table.free()
        if judges(column) or holds_text(table, column) or holds_objects(table, column)
    ]
    if others and len(table.columns) > 1:
        return None
    return Kind("prompt", {}, ("that these are prompts without answers",))


KINDS = (comparison, chosen_pair, ranking, steps, rating, binary, demonstration, unanswered)
"""The kinds of annotation, in the order in which they are tried."""


def meaning_options(
    key: str, meaning: dict[str, Any], said: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The option `values` for a label, and what was guessed."""
    return ({"values": {key: meaning}}, (said,)) if meaning else ({}, ())
