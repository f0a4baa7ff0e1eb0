r"""Mathematical equality of two answers.

An answer is equal to a reference if it states the reference and nothing else. `layout` removes what
is layout alone, `quantities` splits off units, and `parsing` reads what is stated. Plain numbers
are compared exactly in this process, other expressions by `comparison_process`. The rules, each
with test cases in tests/rewards/verifiers/cases.tsv:

- Layout is ignored: spaces, `$`, `\left`, `\dfrac`, fonts, colours, a final period. Unicode symbols
  equal their LaTeX (√ π ² ⅓ ° …).
- Numbers are exact: 0.5 equals 1/2, and 0.33 does not equal 1/3. A decimal with at least six digits
  also equals the numbers that round to it. `0.\dot{3}` and `0.\overline{3}` equal 1/3.
- A unit on only one side is ignored. Different units are not equal, and units are not converted:
  1 m is not 100 cm. Currencies, degrees and the base of a numeral are units. So is the percent
  sign, but 50% also equals 0.5.
- Words that change a number are no unit: 12 million is 12000000, 5 squared is not 5.
- A comma before three digits separates thousands (1,234 and 1{,}234). Inside brackets it separates
  elements: (1,234) is a pair.
- (1,2), [1,2], [1,2) and \{1,2\} are all different. A list without brackets equals (1,2) and
  \{1,2\}. 3:4 is the fraction.
- x=5 equals 5, but not y=5. Other sides of an equation must be names, or equal the value: x=2+3=5
  equals 5, but 2x=5, x+1=5 and 5=6 do not.
- Inequalities that are solved for a variable equal intervals: x<1 or x>2 is the union of
  (-∞,1) and (2,∞).
- Words are compared as words. Letters are not case-sensitive; i is the imaginary unit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TypeVar

from concord.rewards.verifiers.comparison_process import CPU_SECONDS, Question, verdicts
from concord.rewards.verifiers.layout import canonical
from concord.rewards.verifiers.names import is_prose, plain_words
from concord.rewards.verifiers.numerals import Number, rounds_to
from concord.rewards.verifiers.parsing import parse
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

MAX_CHARACTERS = 200
"""Longer answers are compared as text."""
IMAGINARY = re.compile(r"(?<![a-zA-Z\\_])(?<!_\{)i(?![a-zA-Z])")
Item = TypeVar("Item")
EXACT = Fraction(0)
SUMS = re.compile(r"\\(?:sum|prod)(?![a-zA-Z])")


class Comparison:
    """Comparisons of expressions with a limit of CPU time for all of them together.

    `holds` assumes that a question without a verdict holds. So a statement that differs under this
    assumption differs, and no question needs to be answered.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.known: dict[Question, bool] = {}
        self.open: dict[Question, None] = {}

    def holds(self, relation: str, left: str, right: str, tolerance: Fraction = EXACT) -> bool:
        """Whether two expressions are in a relation (`comparison_worker.RELATIONS`)."""
        if not SUMS.search(left + right):
            left, right = IMAGINARY.sub("{I}", left), IMAGINARY.sub("{I}", right)
        question = (relation, left, right, str(tolerance))
        if question not in self.known:
            self.open[question] = None
        return self.known.get(question, True)

    def decide(self, left: Statement, right: Statement) -> bool:
        """Whether two statements are the same."""
        while True:
            self.open.clear()
            if not same(left, right, self.holds):
                return False
            if not self.open:
                return True
            replies, used = verdicts(list(self.open), self.seconds)
            if replies is None:
                return False
            self.known.update(zip(self.open, replies, strict=True))
            self.seconds -= used


Holds = Callable[..., bool]


def equal(reference: str, answer: str, seconds: float = CPU_SECONDS) -> bool:
    r"""Whether two answers are mathematically equal.

    Answers that are too long are compared as text. Answers that cannot be read are not equal.
    `seconds` limits the CPU time of all comparisons of expressions together; beyond it, the answers
    are not equal.

    Examples:
        >>> equal(r"\frac{1}{2}", "0.5")
        True
        >>> equal("1 m", "100 cm")
        False
    """
    reference, answer = reference.strip(), answer.strip()
    if reference == answer or max(len(reference), len(answer)) > MAX_CHARACTERS:
        return reference == answer != ""
    texts = canonical(reference), canonical(answer)
    if texts[0] == texts[1]:
        return texts[0] != ""
    return all(texts) and Comparison(seconds).decide(*map(parse, texts))


def same(left: Statement, right: Statement, holds: Holds) -> bool:
    """Whether two statements are the same; `holds` compares expressions."""
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
    differences = [_difference(each.sides) for each in (left, right)]
    return all(differences) and holds("multiple", *differences)


def _is_solved(equation: Equation) -> bool:
    """Whether the equation gives a number for a name."""
    values = [side for side in equation.sides if not names(side)]
    numbers = [side for side in values if isinstance(side, Scalar) and side.number]
    return 0 < len(values) < len(equation.sides) and len(numbers) == len(values)


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
    parts = [merged(each.intervals) for each in (left, right)]
    return _match(*parts, lambda one, other: _same_interval(one, other, holds))


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
        differences = [_difference(each[1:]) for each in (one, other)]
        relation = "multiple" if one[0] == r"\ne" else "positive multiple"
        return one[0] == other[0] and all(differences) and holds(relation, *differences)

    return _match(left.comparisons, right.comparisons, same_comparison)


def _match(
    left: Sequence[Item], right: Sequence[Item], equal_items: Callable[[Item, Item], bool]
) -> bool:
    """Whether each item has a partner on the other side, in any order."""
    rest = list(right)
    for item in left:
        partner = next((other for other in rest if equal_items(item, other)), None)
        if partner is None:
            return False
        rest.remove(partner)
    return not rest
