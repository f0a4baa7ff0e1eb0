r"""Regions of real numbers: unions of intervals.

Bounds that are plain numbers or infinite are ordered exactly. Other bounds, such as `\sqrt{2}`, are
only compared for equality.
"""

from __future__ import annotations

from fractions import Fraction

from concord.rewards.verifiers.statements import (
    INFINITE,
    Equation,
    Group,
    Interval,
    Region,
    Scalar,
    Statement,
)
from concord.rewards.verifiers.symbol_names import is_variable

LOWEST, HIGHEST = Scalar("-" + INFINITE), Scalar(INFINITE)
SETS = {
    r"\mathbb{R}": (Interval(LOWEST, HIGHEST, (False, False)),),
    "all real numbers": (Interval(LOWEST, HIGHEST, (False, False)),),
    r"\emptyset": (),
}
"""Names of regions."""
Bound = tuple[int, Fraction]


def region(statement: Statement) -> Region | None:
    """The statement as a region; None if it is none."""
    if isinstance(statement, Region):
        return statement
    if isinstance(statement, Scalar) and statement.text in SETS:
        return Region(SETS[statement.text])
    if isinstance(statement, Equation):
        return _of_equation(statement)
    if not isinstance(statement, Group):
        return None
    scalars = [item for item in statement.items if isinstance(item, Scalar)]
    if len(scalars) == len(statement.items):
        return _of_scalars(statement.brackets, scalars)
    return None if statement.brackets else union(list(map(region, statement.items)))


def below(bound: Scalar, closed: bool) -> Interval:
    """The numbers below a bound."""
    return Interval(LOWEST, bound, (False, closed))


def above(bound: Scalar, closed: bool) -> Interval:
    """The numbers above a bound."""
    return Interval(bound, HIGHEST, (closed, False))


def union(regions: list[Region | None]) -> Region | None:
    """The union; None if a region is unknown, or if two have different variables."""
    known = [each for each in regions if each is not None]
    variables = {each.variable for each in known if each.variable}
    if len(known) < len(regions) or len(variables) > 1:
        return None
    return Region(tuple(part for each in known for part in each.intervals), *variables)


def intersection(left: Region, right: Region) -> Region | None:
    """The intersection; None if bounds cannot be ordered, or the variables differ."""
    if left.variable and right.variable and left.variable != right.variable:
        return None
    parts: list[Interval] = []
    for one in left.intervals:
        for other in right.intervals:
            low = _inner(one, other, 0)
            high = _inner(one, other, 1)
            if low is None or high is None:
                return None
            parts.append(Interval(low[0], high[0], (low[1], high[1])))
    kept = tuple(part for part in parts if not _is_empty(part))
    return Region(kept, left.variable or right.variable)


def without(region_: Region, points: Region) -> Region | None:
    """The region without single points; None if these are no points or bounds have no order."""
    result: Region | None = region_
    for point in points.intervals:
        if point.low != point.high or result is None:
            return None
        rest = Region((below(point.low, closed=False), above(point.low, closed=False)))
        result = intersection(result, rest)
    return result


def merged(intervals: tuple[Interval, ...]) -> tuple[Interval, ...]:
    """Overlapping and touching intervals merged, and in order, if all bounds can be ordered."""
    keys = [_key(end) for interval in intervals for end in (interval.low, interval.high)]
    if None in keys:
        return intervals
    result: list[Interval] = []
    for interval in sorted(intervals, key=lambda each: (_key(each.low) or (), not each.closed[0])):
        if _is_empty(interval):
            continue
        if result and _touch(result[-1], interval):
            last = result.pop()
            end = max(last, interval, key=lambda each: (_key(each.high) or (), each.closed[1]))
            interval = Interval(last.low, end.high, (last.closed[0], end.closed[1]))
        result.append(interval)
    return tuple(result)


def _of_scalars(brackets: str, scalars: list[Scalar]) -> Region | None:
    """A set of points, or an interval in brackets."""
    if brackets == "{}":
        return Region(tuple(Interval(point, point, (True, True)) for point in scalars))
    if len(brackets) != 2 or len(scalars) != 2:
        return None
    low, high = (HIGHEST if end.text == "+" + INFINITE else end for end in scalars)
    closed = (
        brackets[0] == "[" and INFINITE not in low.text,
        brackets[1] == "]" and INFINITE not in high.text,
    )
    return Region((Interval(low, high, closed),))


def _of_equation(equation: Equation) -> Region | None:
    """The point that a variable is equal to."""
    scalars = [side for side in equation.sides if isinstance(side, Scalar)]
    if len(scalars) != 2 or len(equation.sides) != 2 or not is_variable(scalars[0].text):
        return None
    point = scalars[1]
    return Region((Interval(point, point, (True, True)),), scalars[0].text)


def _inner(one: Interval, other: Interval, side: int) -> tuple[Scalar, bool] | None:
    """The larger lower end (side 0) or the smaller upper end (side 1), and whether it is closed."""
    ends = [((each.low, each.high)[side], each.closed[side]) for each in (one, other)]
    if ends[0][0] == ends[1][0]:
        return ends[0][0], ends[0][1] and ends[1][1]
    unbounded = (LOWEST, HIGHEST)[side]
    for end, rest in (ends, ends[::-1]):
        if end[0] == unbounded:
            return rest
    keys = [_key(end) for end, _ in ends]
    if keys[0] is None or keys[1] is None:
        return None
    return ends[(keys[0] < keys[1]) == (side == 0)]


def _is_empty(interval: Interval) -> bool:
    low, high = _key(interval.low), _key(interval.high)
    if low is None or high is None:
        return False
    return low > high or (low == high and not all(interval.closed))


def _touch(left: Interval, right: Interval) -> bool:
    """Whether the right interval starts in the left one or at its end."""
    high, low = _key(left.high), _key(right.low)
    assert high is not None
    assert low is not None
    return low < high or (low == high and (left.closed[1] or right.closed[0]))


def _key(bound: Scalar) -> Bound | None:
    """A key that orders plain numbers and infinities; None for other expressions."""
    if bound.text.lstrip("+-") == INFINITE:
        return (-1 if bound.text.startswith("-") else 1, Fraction(0))
    value = bound.number
    return (0, value[0]) if value else None
