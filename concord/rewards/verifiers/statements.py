r"""What an answer can state: a value, several values, an equation, a region of numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from concord.rewards.verifiers.numerals import Number, half_unit, number
from concord.rewards.verifiers.symbol_names import is_name

INFINITE = r"\infty"


@dataclass(frozen=True)
class Scalar:
    """An expression without relations and separators outside of brackets."""

    text: str
    unit: str = ""
    approximate: bool = False
    """Whether it follows an approximately-equal sign, so that it may be rounded."""

    @property
    def number(self) -> Number | None:
        """The value of a plain number and its largest error."""
        value = number(self.text)
        if value and self.approximate and "." in self.text:
            return value[0], max(value[1], half_unit(self.text))
        return value


@dataclass(frozen=True)
class Group:
    """Several statements. Brackets: `()`, `[)` and so on, `{}` for a set, empty for a bare list,
    `:` for a ratio."""

    brackets: str
    items: tuple[Statement, ...]


@dataclass(frozen=True)
class Equation:
    """Two or more sides joined by equality signs."""

    sides: tuple[Statement, ...]


@dataclass(frozen=True)
class Inequality:
    r"""Comparisons (sign, smaller side, larger side) that all hold; signs: `<`, `\le`, `\ne`."""

    comparisons: tuple[tuple[str, Scalar, Scalar], ...]


@dataclass(frozen=True)
class Interval:
    """The real numbers between two bounds, and whether it contains each bound."""

    low: Scalar
    high: Scalar
    closed: tuple[bool, bool]


@dataclass(frozen=True)
class Region:
    """A union of intervals, and the variable that lies in it, if it is named."""

    intervals: tuple[Interval, ...]
    variable: str = ""


Statement = Scalar | Group | Equation | Inequality | Region


def listed(statements: Iterable[Statement]) -> Statement:
    """A bare list of the statements, in which bare lists are flat; one statement is itself."""
    items: list[Statement] = []
    for statement in statements:
        bare = isinstance(statement, Group) and not statement.brackets
        items += statement.items if bare and isinstance(statement, Group) else (statement,)
    return items[0] if len(items) == 1 else Group("", tuple(items))


def names(statement: Statement) -> bool:
    """Whether the statement is a name, or several."""
    if isinstance(statement, Group):
        return all(map(names, statement.items))
    return isinstance(statement, Scalar) and not statement.unit and is_name(statement.text)
