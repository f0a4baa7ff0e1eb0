r"""Reads an answer in canonical layout as statements.

Lists, brackets, relations, unions, ratios and plus-or-minus are read here. An expression without
them is a `Scalar`, which `comparison_worker` reads.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache, reduce

from concord.rewards.verifiers import regions
from concord.rewards.verifiers.layout import without_braces
from concord.rewards.verifiers.numerals import number
from concord.rewards.verifiers.quantities import quantity
from concord.rewards.verifiers.relations import RELATIONS, relation
from concord.rewards.verifiers.statements import (
    Group,
    Region,
    Scalar,
    Statement,
    listed,
)
from concord.rewards.verifiers.symbol_names import is_prose, is_variable

TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|[a-zA-Z]+|.", re.DOTALL)
DEPTH = {"(": 1, "[": 1, "{": 1, r"\{": 1, ")": -1, "]": -1, "}": -1, r"\}": -1}
BRACKETS = {"(": (")", "]"), "[": (")", "]"), r"\{": (r"\}",)}
UNION, DIFFERENCE = {r"\cup", r"\bigcup"}, {r"\setminus", r"\backslash"}
SIGNS = re.compile(r"(^|[=(,\[{<>])?\\(pm|mp)(?![a-zA-Z]) ?")
LETTER_UNION = re.compile(r"(?<=[)\]}]) ?[Uu] ?(?=[(\[\\])")
MAX_DEPTH = 12
"""Answers with more nested brackets are compared as text."""
Part = tuple[str, str]
"""The separator before a part, empty for the first, and the part."""


def parse(text: str) -> Statement:
    r"""What an answer in canonical layout states.

    Examples:
        >>> [side.text for side in parse("x=5").sides]
        ['x', '5']
        >>> parse("(1,2]").brackets
        '(]'
    """
    if _depth(text) > MAX_DEPTH:
        return Scalar(text)
    ends = _split(text, {"or", "and"})
    if not ends[0][1].strip() or not ends[-1][1].strip():
        return Scalar(text)
    parts = [_joined(part) for _, part in split(text, {"or"})]
    if len(parts) > 1 and any(isinstance(part, Region) for part in parts):
        return regions.union(list(map(regions.region, parts))) or listed(parts)
    return listed(parts) if parts else Scalar(text)


def split(text: str, separators: set[str]) -> list[Part]:
    """The parts of a text between separators outside of brackets, without empty parts."""
    return [(sign, part.strip()) for sign, part in _split(text, separators) if part.strip()]


def _split(text: str, separators: set[str]) -> list[Part]:
    level, start, position, sign = 0, 0, 0, ""
    parts = []
    for token in TOKEN.findall(text):
        level += DEPTH.get(token, 0)
        if token in separators and not level:
            parts.append((sign, text[start:position]))
            sign, start = token, position + len(token)
        position += len(token)
    return [*parts, (sign, text[start:])]


def _depth(text: str) -> int:
    level = deepest = 0
    for token in TOKEN.findall(text):
        level += DEPTH.get(token, 0)
        deepest = max(deepest, level)
    return deepest


def _joined(text: str) -> Statement:
    """Statements with commas or "and" between them. Conditions on one variable hold together."""
    parts = split(text, {",", ";", "and"})
    statements = [_statement(part) for _, part in parts]
    known = [each for each in statements if isinstance(each, Region)]
    if len(known) < 2 or len(known) < len(statements):
        return listed(statements) if statements else Scalar(text)
    both: Region | None = known[0]
    for other in known[1:]:
        both = regions.intersection(both, other) if both else None
    if both and not both.intervals and "and" not in {sign for sign, _ in parts}:
        both = regions.union(list(known))  # x<-2, x>2
    return both or listed(statements)


@lru_cache(maxsize=1024)  # nested text would be read again at each level
def _statement(text: str) -> Statement:
    """A statement without separators."""
    text = without_braces(text)
    if SIGNS.search(text):
        return listed([parse(_one_sign(text, "mp")), parse(_one_sign(text, "pm"))])
    text = LETTER_UNION.sub(r"\\cup ", text)
    members = split(text, {r"\in"})
    parts = _split(text, RELATIONS)
    if len(members) == 2 and len(parts) == 1:
        return _membership(text, members[0][1], members[1][1])
    if region := _set(text):
        return region
    if len(parts) == 1:
        return _quantity(text)
    sides = [side.strip() for _, side in parts]
    if not all(sides):
        return Scalar(text)
    return relation(text, [sign for sign, _ in parts[1:]], list(map(_statement, sides)))


def _one_sign(text: str, minus: str) -> str:
    r"""The text with `\pm` and `\mp` replaced by signs. `minus` is the one that becomes a minus."""

    def sign(match: re.Match[str]) -> str:
        leads = match[1] is not None
        plus = "" if leads else "+"
        return (match[1] or "") + ("-" if match[2] == minus else plus)

    return SIGNS.sub(sign, text)


def _membership(text: str, member: str, container: str) -> Statement:
    r"""What `x \in A` states: the region A of x, or the members of a finite set."""
    statement = _statement(container)
    if isinstance(statement, Group) and statement.brackets == "{}":
        return statement
    region = regions.region(statement)
    if region is None or not is_variable(member):
        return Scalar(text)
    return replace(region, variable=member)


def _set(text: str) -> Region | None:
    """A union, intersection or difference of regions; None if the text is none."""
    for separators in (UNION, DIFFERENCE, {r"\cap"}):
        parts = split(text, separators)
        if len(parts) < 2:
            continue
        known = [regions.region(_statement(part)) for _, part in parts]
        if separators is UNION:
            return regions.union(known)
        combine = regions.without if separators is DIFFERENCE else regions.intersection
        return reduce(lambda left, right: combine(left, right) if left and right else None, known)
    return None


def _quantity(text: str) -> Statement:
    """A value with its unit."""
    value, unit = quantity(text)
    return _with_unit(_value(without_braces(value)), unit)


def _with_unit(statement: Statement, unit: str) -> Statement:
    if isinstance(statement, Scalar) and not statement.unit:
        return replace(statement, unit=unit)
    if isinstance(statement, Group) and unit:
        return replace(statement, items=tuple(_with_unit(item, unit) for item in statement.items))
    return statement


def _value(text: str) -> Statement:
    tokens = TOKEN.findall(text)
    first, last = (tokens[0], tokens[-1]) if len(tokens) > 1 else ("", "")
    if first in BRACKETS and last in BRACKETS[first] and _encloses(tokens):
        return _group(first + last, text[len(first) : -len(last)])
    parts = [part for _, part in split(text, {":"})]
    if len(parts) > 1 and not any(map(is_prose, parts)) and not re.search(r":0\d", text):
        return _ratio(text, parts)
    return Scalar(text)


def _encloses(tokens: list[str]) -> bool:
    """Whether the first bracket is closed by the last token."""
    level = 0
    for index, token in enumerate(tokens):
        level += DEPTH.get(token, 0)
        if not level:
            return index == len(tokens) - 1
    return False


def _group(brackets: str, content: str) -> Statement:
    brackets = brackets.replace("\\", "")
    if brackets == "{}" and (built := _built(content)):
        return built
    items = [parse(part) for _, part in split(content, {",", ";"})]
    if len(items) == 1 and (brackets == "()" or isinstance(items[0], Region)):
        return items[0]
    return Group(brackets, tuple(items))


def _built(content: str) -> Region | None:
    r"""The region `\{x | condition\}`; None for another set."""
    for separator in ("|", ":"):
        parts = [part for _, part in split(content, {separator})]
        if len(parts) != 2:
            continue
        variable = parts[0].removesuffix(r"\in" + r"\mathbb{R}").strip()
        region = regions.region(parse(parts[1]))
        if region and region.variable == variable:
            return Region(region.intervals)
    return None


def _ratio(text: str, parts: list[str]) -> Statement:
    """A ratio equals a ratio only, never a number: each part is divided by the first."""
    values = [number(part) for part in parts]
    exact = [value[0] for value in values if value]
    if len(exact) < len(values) and len(parts) == 2:
        return Group(":", (Scalar("1"), Scalar(rf"\frac{{{parts[1]}}}{{{parts[0]}}}")))
    if len(exact) < len(values) or not exact[0]:
        return Scalar(text)
    return Group(":", tuple(Scalar(str(value / exact[0])) for value in exact))
