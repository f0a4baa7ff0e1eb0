r"""Whether two statements are the same, up to the comparison of expressions."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TypeVar

from concord.rewards.verifiers.numerals import Number, rounds_to
from concord.rewards.verifiers.regions import SETS, merged, region
from concord.rewards.verifiers.statements import (
    Equation,
    Group,
    Inequality,
    Interval,
    Region,
    Scalar,
    Statement,
    names,
)
from concord.rewards.verifiers.symbol_names import is_prose, plain_words

EXACT = Fraction(0)
Item = TypeVar("Item")
Holds = Callable[[str, str, str, Fraction], bool]
"""Whether a relation holds between two expressions, with a tolerance (`comparison_worker`)."""


def same(left: Statement, right: Statement, holds: Holds) -> bool:
    """Whether two statements are the same; `holds` compares expressions."""
    if left == right:
        return True
    if isinstance(left, Equation) and isinstance(right, Equation):
        return _same_equation(left, right, holds)
    if isinstance(left, Equation) or isinstance(right, Equation):
        equation, value = (left, right) if isinstance(left, Equation) else (right, left)
        return isinstance(equation, Equation) and _states(equation, value, holds)
    if _is_region(left) or _is_region(right):
        return _same_region(region(left), region(right), holds)
    if isinstance(left, Group) or isinstance(right, Group):
        return _same_group(_group(left), _group(right), holds)
    if isinstance(left, Inequality) and isinstance(right, Inequality):
        return _same_inequality(left, right, holds)
    return (
        isinstance(left, Scalar) and isinstance(right, Scalar) and _same_scalar(left, right, holds)
    )


def _same_scalar(left: Scalar, right: Scalar, holds: Holds) -> bool:
    if left.unit and right.unit and left.unit != right.unit:
        return False
    exact, other = left.number, right.number
    if exact and other:
        return _same_number(exact, left.unit, other, right.unit)
    if plain_words(left.text) == plain_words(right.text):
        return True
    if is_prose(left.text) or is_prose(right.text):
        return False
    tolerance = max((value[1] for value in (exact, other) if value), default=EXACT)
    return holds("equal", _exact_text(left), _exact_text(right), tolerance)


def _same_number(left: Number, unit: str, right: Number, other_unit: str) -> bool:
    if unit != other_unit and "%" in (unit, other_unit):
        percent, bare = (left, right) if unit == "%" else (right, left)
        hundredth = percent[0] / 100, percent[1] / 100
        return rounds_to(percent, bare) or rounds_to(hundredth, bare)
    return rounds_to(left, right)


def _exact_text(scalar: Scalar) -> str:
    """The expression; a plain number as a fraction."""
    value = scalar.number
    return rf"\frac{{{value[0].numerator}}}{{{value[0].denominator}}}" if value else scalar.text


def _states(equation: Equation, value: Statement, holds: Holds) -> bool:
    """Whether one side is the value, and every other side is a name or equal to that side."""
    candidates = [side for side in equation.sides if not names(side)] or [equation.sides[-1]]
    return any(
        same(side, value, holds)
        and all(names(other) or same(side, other, holds) for other in equation.sides)
        for side in candidates
    )


def _same_equation(left: Equation, right: Equation, holds: Holds) -> bool:
    """Same names and same values, or the same equation but for a factor."""
    named = [{side for side in each.sides if names(side)} for each in (left, right)]
    values = [[side for side in each.sides if not names(side)] for each in (left, right)]
    if named[0] == named[1] and named[0] and all(values):
        first, *others = values[0] + values[1]
        if all(same(first, other, holds) for other in others):
            return True
    elif named[0] != named[1] and (_is_solved(left) or _is_solved(right)):
        return False  # x=5 is solved, 2x=10 is not
    return _proportional("multiple", left.sides, right.sides, holds)


def _is_solved(equation: Equation) -> bool:
    """Whether the equation gives a number for a name."""
    values = [side for side in equation.sides if not names(side)]
    numbers = [side for side in values if isinstance(side, Scalar) and side.number]
    return 0 < len(values) < len(equation.sides) and len(numbers) == len(values)


def _proportional(
    relation: str, sides: Sequence[Statement], others: Sequence[Statement], holds: Holds
) -> bool:
    """Whether the differences of both pairs of sides are in a relation."""
    left, right = _difference(sides), _difference(others)
    return left != "" and right != "" and holds(relation, left, right, EXACT)


def _difference(sides: Sequence[Statement]) -> str:
    """Left minus right side, as an expression; empty if that makes no sense."""
    scalars = [side for side in sides if isinstance(side, Scalar) and not is_prose(side.text)]
    if len(sides) != 2 or len(scalars) != 2:
        return ""
    return "-".join(rf"({_exact_text(side)})" for side in scalars)


def _is_region(statement: Statement) -> bool:
    named = isinstance(statement, Scalar) and statement.text in SETS
    return named or isinstance(statement, Region)


def _same_region(left: Region | None, right: Region | None, holds: Holds) -> bool:
    if left is None or right is None:
        return False
    if left.variable and right.variable and left.variable != right.variable:
        return False
    return _match(
        merged(left.intervals),
        merged(right.intervals),
        lambda one, other: _same_interval(one, other, holds),
    )


def _same_interval(left: Interval, right: Interval, holds: Holds) -> bool:
    return (
        left.closed == right.closed
        and _same_scalar(left.low, right.low, holds)
        and _same_scalar(left.high, right.high, holds)
    )


def _group(statement: Statement) -> Group:
    """The statement as a group; a single one is a list without brackets."""
    return statement if isinstance(statement, Group) else Group("", (statement,))


def _same_group(left: Group, right: Group, holds: Holds) -> bool:
    brackets = {left.brackets, right.brackets}
    if brackets == {"", "()"} or brackets == {""}:
        left, right = _in_order_of_names(left, right), _in_order_of_names(right, left)
        brackets = {left.brackets, right.brackets}
    if brackets == {"{}"}:
        return all(
            any(same(item, other, holds) for other in two.items)
            for one, two in ((left, right), (right, left))
            for item in one.items
        )
    if len(left.items) != len(right.items):
        return False
    if brackets <= {"", "{}"}:
        return _match(left.items, right.items, lambda one, other: same(one, other, holds))
    return (len(brackets) == 1 or brackets == {"", "()"}) and all(
        same(one, other, holds) for one, other in zip(left.items, right.items, strict=True)
    )


def _in_order_of_names(group: Group, other: Group) -> Group:
    """x and y of the list y=1, x=2 as the pair (2, 1), if the other group does not name them."""
    pairs = {}
    for item in group.items:
        name = item.sides[0] if isinstance(item, Equation) and len(item.sides) == 2 else item
        if not isinstance(item, Equation) or not isinstance(name, Scalar) or not names(name):
            return group
        pairs[name.text] = item.sides[1]
    roots = {re.sub(r"_.*", "", name) for name in pairs}
    if len(roots) < len(group.items) or any(isinstance(item, Equation) for item in other.items):
        return group
    return Group("()", tuple(pairs[name] for name in sorted(pairs)))


def _same_inequality(left: Inequality, right: Inequality, holds: Holds) -> bool:
    def same_comparison(one: tuple[str, Scalar, Scalar], other: tuple[str, Scalar, Scalar]) -> bool:
        relation = "multiple" if one[0] == r"\ne" else "positive multiple"
        return one[0] == other[0] and _proportional(relation, one[1:], other[1:], holds)

    return _match(left.comparisons, right.comparisons, same_comparison)


def _match(
    left: Sequence[Item], right: Sequence[Item], equal_items: Callable[[Item, Item], bool]
) -> bool:
    """Whether each item has a partner on the other side, in any order."""
    rest = list(right)
    for item in left:
        # All are tried, so that the questions about all of them are asked at once.
        partners = [other for other in rest if equal_items(item, other)]
        if not partners:
            return False
        rest.remove(partners[0])
    return not rest
