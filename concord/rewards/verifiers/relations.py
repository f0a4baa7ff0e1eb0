r"""Equations and inequalities: sides with signs between them."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

from concord.rewards.verifiers import regions
from concord.rewards.verifiers.statements import (
    Equation,
    Inequality,
    Region,
    Scalar,
    Statement,
)
from concord.rewards.verifiers.symbol_names import is_variable

LESS, GREATER = {"<": "<", r"\le": r"\le"}, {">": "<", r"\ge": r"\le"}
"""Sign -> the sign when the smaller side comes first."""
EQUAL, UNEQUAL = {"=", r"\approx"}, {r"\ne"}
RELATIONS = {*LESS, *GREATER, *EQUAL, *UNEQUAL}


def relation(text: str, signs: list[str], sides: list[Statement]) -> Statement:
    """The statement of `sides` with `signs` between them; `text` as it is without a meaning."""
    if EQUAL.issuperset(signs):
        return Equation(tuple(map(_approximate, sides, ["", *signs])))
    scalars = [side for side in sides if isinstance(side, Scalar)]
    if EQUAL.intersection(signs) or len(scalars) < len(sides):
        return Scalar(text)
    return _solved(signs, scalars) or _inequality(signs, scalars)


def _approximate(side: Statement, sign: str) -> Statement:
    if isinstance(side, Scalar) and sign == r"\approx":
        return replace(side, approximate=True)
    return side


def _solved(signs: list[str], sides: list[Scalar]) -> Region | None:
    """The region of a variable between bounds; None if the inequality is not solved for one."""
    positions = [index for index, side in enumerate(sides) if is_variable(side.text)]
    if len(positions) != 1:
        return None
    position, variable = positions[0], sides[positions[0]].text
    others = sides[:position] + sides[position + 1 :]
    if any(re.search(rf"(?<![a-zA-Z\\]){re.escape(variable)}", side.text) for side in others):
        return None
    if signs == [r"\ne"]:
        rest = (regions.below(others[0], closed=False), regions.above(others[0], closed=False))
        return Region(rest, variable)
    if len(sides) > 3 or (len(sides) == 3 and position != 1):
        return None
    parts = []
    for index, sign in enumerate(signs):
        side, is_left = (sides[0], True) if index < position else (sides[-1], False)
        closed = sign in (r"\le", r"\ge")
        is_lower = is_left == (sign in LESS)
        if sign in UNEQUAL:
            return None
        parts.append(Region(((regions.above if is_lower else regions.below)(side, closed),)))
    region = parts[0] if len(parts) == 1 else regions.intersection(*parts)
    return replace(region, variable=variable) if region else None


def _inequality(signs: list[str], sides: list[Scalar]) -> Inequality:
    comparisons = []
    for sign, (left, right) in zip(signs, pairwise(sides), strict=True):
        ends = (right, left) if sign in GREATER else (left, right)
        comparisons.append(((LESS | GREATER).get(sign, sign), *ends))
    return Inequality(tuple(comparisons))
