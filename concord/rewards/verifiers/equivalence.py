r"""Mathematical equality of two answers.

`quantities` brings both answers into canonical layout and splits off the units. Plain numbers are
compared in this module, everything else by math-verify (`comparison_process`). The rules, each with
test cases in tests/rewards/verifiers/math_answers.txt:

- Layout is ignored: spaces, `$`, `\left`, `\dfrac`, a final period. Unicode symbols equal their
  LaTeX (√ π ² ½ ° …).
- Numbers are exact: 0.5 equals 1/2, and 0.33 does not equal 1/3. A decimal with at least six digits
  also equals the numbers that round to it.
- A unit on only one side is ignored. Different units are not equal, and units are not converted:
  1 m is not 100 cm. Currencies, degrees and the base of a numeral are units. So is the percent
  sign, but 50% also equals 0.5.
- A comma before three digits separates thousands (1,234 and 1{,}234). Inside brackets it separates
  elements: (1,234) is a pair.
- (1,2), [1,2], [1,2) and \{1,2\} are all different. A list without brackets equals (1,2) and
  \{1,2\}.
- x=5 equals 5, but not y=5. Words are compared as words. Letters are not case-sensitive; i is the
  imaginary unit.
"""

from __future__ import annotations

import re
from fractions import Fraction

from concord.rewards.verifiers.comparison_process import CPU_SECONDS, compare
from concord.rewards.verifiers.quantities import BRACKET, DEPTH, TEXT, quantity

MAX_CHARACTERS = 200
"""Longer answers are compared as text."""
DECIMAL = r"\d+\.?\d*|\.\d+"
SCIENTIFIC = re.compile(
    rf"([+-]?)({DECIMAL})"
    r"(?:(?:(?:\\times|\\cdot|\*) ?10\^|[eE])(?:\{([+-]?\d{1,3})\}|([+-]?\d{1,3})))?"
)
FRACTION = re.compile(rf"([+-]?) ?(?:(\d+) )?({DECIMAL})/({DECIMAL})")
REPEATING = re.compile(r"([+-]?)(\d*)\.(\d*)\\(?:overline|bar)\{(\d+)\}")
ROUNDED_DIGITS = 6
"""A decimal with at least so many significant digits may be rounded."""
Number = tuple[Fraction, Fraction]
"""A value and its largest rounding error, 0 for exact numbers."""
LETTERS = re.compile(r"[^\W\d_](?:[^\W\d_]|[ '])*")
ASSIGNED = re.compile("[a-zA-Z]=")
IMAGINARY = re.compile(r"(?<![a-zA-Z\\_])(?<!_\{)i(?![a-zA-Z]| ?=)")


def equal(reference: str, answer: str, seconds: float = CPU_SECONDS) -> bool:
    r"""Whether two answers are mathematically equal.

    Answers that are too long are compared as text. Answers that cannot be parsed, or take more than
    `seconds` of CPU time, are not equal.

    Examples:
        >>> equal(r"\frac{1}{2}", "0.5")
        True
        >>> equal("1 m", "100 cm")
        False
    """
    reference, answer = reference.strip(), answer.strip()
    if reference == answer or max(len(reference), len(answer)) > MAX_CHARACTERS:
        return reference == answer != ""
    (expected, unit), (value, other_unit) = quantity(reference), quantity(answer)
    if not value or (unit and other_unit and unit != other_unit):
        return False
    left, right = number(expected), number(value)
    if left is None or right is None:
        return _same_expression(expected, value, seconds)
    if unit != other_unit and "%" in (unit, other_unit):
        percent, bare = (left, right) if unit == "%" else (right, left)
        return _same_number(percent, bare) or _same_number(
            (percent[0] / 100, percent[1] / 100), bare
        )
    return _same_number(left, right)


def number(text: str) -> Number | None:
    r"""The value of a plain number and its largest rounding error; None for anything else.

    Examples:
        >>> number("0.5")
        (Fraction(1, 2), Fraction(0, 1))
        >>> number(r"\frac{3}{4}")
        (Fraction(3, 4), Fraction(0, 1))
        >>> number("x") is None
        True
    """
    text = re.sub(rf"\\frac\{{({DECIMAL})\}}\{{({DECIMAL})\}}", r" \1/\2", text).strip()
    if match := SCIENTIFIC.fullmatch(text):
        return _decimal(match[1] + match[2], Fraction(10) ** int(match[3] or match[4] or 0))
    if match := FRACTION.fullmatch(text):
        numerator, denominator = Fraction(match[3]), Fraction(match[4])
        if not denominator:
            return None
        value = int(match[1] + "1") * (int(match[2] or 0) + numerator / denominator)
        return value, Fraction(0)
    if match := REPEATING.fullmatch(text):
        sign, whole, fixed, period = match.groups()
        nines = 10 ** len(fixed) * (10 ** len(period) - 1)
        return Fraction(
            int(sign + "1") * (int(whole + fixed + period) - int(whole + fixed or 0)), nines
        ), Fraction(0)
    return None


def _decimal(digits: str, power: Fraction) -> Number:
    places = digits.partition(".")[2]
    rounded = "." in digits and len(digits.replace(".", "").lstrip("+-0")) >= ROUNDED_DIGITS
    return Fraction(digits) * power, power / (2 * 10 ** len(places)) if rounded else Fraction(0)


def _same_number(left: Number, right: Number) -> bool:
    """Whether the numbers are equal, or one is a decimal to which the other, exact one rounds."""
    tolerance = 0 if left[1] and right[1] else max(left[1], right[1])
    return abs(left[0] - right[0]) <= tolerance


def _same_expression(expected: str, value: str, seconds: float) -> bool:
    """Whether two values are the same text, the same words, or equal according to math-verify."""
    if expected == value:
        return True
    words = [re.sub(TEXT, r"\1", side).casefold() for side in (expected, value)]
    are_words = all(
        LETTERS.fullmatch(side) and not re.search(r"\b(and|or)\b", side) for side in words
    )
    # Up to three letters may be a product: xy equals yx.
    if are_words and (words[0] == words[1] or min(map(len, words)) > 3):
        return words[0] == words[1]
    brackets = [_outer_brackets(expected), _outer_brackets(value)]
    if "," in expected + value and all(brackets) and brackets[0] != brackets[1]:
        return False
    if "()" in brackets:
        expected, value = (
            side if BRACKET.search(side) or "," not in side else _tuple(side)
            for side in (expected, value)
        )
    if not re.search(r"\\(?:sum|prod)", expected + value):
        expected, value = IMAGINARY.sub("{I}", expected), IMAGINARY.sub("{I}", value)
    return compare(expected, value, seconds)


def _tuple(text: str) -> str:
    """The list `text` in brackets. Assignments are sorted by variable: y=1, x=2 becomes (2, 1)."""
    parts = text.split(", ")
    if all(ASSIGNED.match(part) for part in parts):
        parts = [ASSIGNED.sub("", part) for part in sorted(parts)]
    return f"({', '.join(parts)})"


def _outer_brackets(text: str) -> str:
    """The pair of brackets around all of `text`: `(]` for (1,2], empty for (1,2),(3,4)."""
    depth, parts = 0, BRACKET.split(text)
    for index, part in enumerate(parts):
        depth += DEPTH.get(part, 0)
        if index and not depth:
            encloses_all = not parts[0] and index == len(parts) - 2 and not parts[-1]
            return parts[1] + part if encloses_all else ""
    return ""
