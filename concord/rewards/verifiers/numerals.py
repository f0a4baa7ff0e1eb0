r"""Exact values of plain numbers: decimals, fractions, mixed and repeating ones, powers of ten."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

DECIMAL = r"\d+\.?\d*|\.\d+"
SIGNED = rf"[+-]?(?:{DECIMAL})"
SCIENTIFIC = re.compile(
    rf"([+-]?) ?({DECIMAL})"
    r"(?:(?:(?:\\times|\\cdot|\*) ?10\^|[eE])(?:\{([+-]?\d{1,3})\}|([+-]?\d{1,3})))?"
)
POWER_OF_TEN = re.compile(r"([+-]?)10\^(?:\{([+-]?\d{1,3})\}|(\d))")
FRACTION = re.compile(rf"([+-]?) ?(?:(\d+) )?({SIGNED})/({SIGNED})")
LATEX_FRACTION = re.compile(rf"\\frac ?\{{ ?({SIGNED}) ?\}} ?\{{ ?({SIGNED}) ?\}}")
REPEATING = re.compile(r"([+-]?)(\d*)\.(\d*?)(?:\\(?:overline|bar) ?\{?(\d+)\}?|\((\d+)\))")
DOTTED = re.compile(r"\\dot ?\{?(\d)\}?(?:(\d*)\\dot ?\{?(\d)\}?)?")
ENDLESS = re.compile(r"([+-]?\d*\.\d+)\\ldots ?")
PERIOD = re.compile(r"(.*?)(\d{1,6}?)\2{2,}")
ROUNDED_DIGITS = 6
"""A decimal with at least so many significant digits may be rounded."""
Number = tuple[Fraction, Fraction]
"""A value and its largest error, 0 for exact numbers."""


@lru_cache(maxsize=4096)
def number(text: str) -> Number | None:
    r"""The value of a plain number and its largest error; None for anything else.

    Examples:
        >>> number("0.5")
        (Fraction(1, 2), Fraction(0, 1))
        >>> number(r"0.1\dot{6}")
        (Fraction(1, 6), Fraction(0, 1))
        >>> number("x") is None
        True
    """
    text = LATEX_FRACTION.sub(r" \1/\2", text).strip()
    if match := SCIENTIFIC.fullmatch(text):
        return _decimal(match[1] + match[2], Fraction(10) ** int(match[3] or match[4] or 0))
    if match := POWER_OF_TEN.fullmatch(text):
        return int(match[1] + "1") * Fraction(10) ** int(match[2] or match[3]), Fraction(0)
    if match := FRACTION.fullmatch(text):
        numerator, denominator = Fraction(match[3]), Fraction(match[4])
        if not denominator:
            return None
        value = int(match[1] + "1") * (int(match[2] or 0) + numerator / denominator)
        return value, Fraction(0)
    return _repeating(text)


def half_unit(text: str) -> Fraction:
    """Half a unit of the last place of a decimal, the largest error of a rounded one."""
    return Fraction(1, 2 * 10 ** len(re.sub(r"\D", "", text.partition(".")[2])))


def rounds_to(exact: Number, rounded: Number) -> bool:
    """Whether two numbers are equal, or one is a decimal to which the other, exact one rounds."""
    tolerance = 0 if exact[1] and rounded[1] else max(exact[1], rounded[1])
    return abs(exact[0] - rounded[0]) <= tolerance


def as_latex(value: Fraction) -> str:
    return rf"{{\frac{{{value.numerator}}}{{{value.denominator}}}}}"


def _repeating(text: str) -> Number | None:
    text = DOTTED.sub(
        lambda match: rf"\overline{{{match[1]}{match[2] or ''}{match[3] or ''}}}", text
    )
    if match := REPEATING.fullmatch(text):
        return _periodic(match[1] + match[2], match[3], match[4] or match[5])
    if match := ENDLESS.fullmatch(text):
        whole, _, digits = match[1].partition(".")
        if period := PERIOD.fullmatch(digits):
            return _periodic(whole, period[1], period[2])
        if len(digits) >= ROUNDED_DIGITS:  # cut off, not rounded
            return Fraction(match[1]), 2 * half_unit(match[1])
    return None


def _periodic(whole: str, fixed: str, period: str) -> Number:
    """The value of a decimal whose last digits, `period`, repeat without end."""
    digits = whole.lstrip("+-")
    nines = 10 ** len(fixed) * (10 ** len(period) - 1)
    value = Fraction(int(digits + fixed + period) - int(digits + fixed or 0), nines)
    return -value if whole.startswith("-") else value, Fraction(0)


def _decimal(digits: str, power: Fraction) -> Number:
    rounded = "." in digits and len(digits.replace(".", "").lstrip("+-0")) >= ROUNDED_DIGITS
    return Fraction(digits) * power, power * half_unit(digits) if rounded else Fraction(0)
