r"""Mathematical equality of two answers.

Plain numbers are compared in this module, everything else by math-verify. The rules, each with test
cases in tests/rewards/verifiers/math_answers.txt:

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

A hostile answer such as `9^{9^{9^9}}` can keep sympy busy forever inside a single C call, or
exhaust the memory. math-verify therefore runs in a separate process that forks for each comparison.
The fork is killed at a limit of memory or CPU time, and the next fork starts from the same warm
state. The limit is CPU time rather than wall-clock time, so that a busy machine does not turn
correct answers into wrong ones. An aborted comparison counts as not equal. Answers are parsed as
LaTeX only, because sympy's parser of plain expressions calls `eval`.

This file is also the program of the separate process. It reads lines of JSON,
[reference, answer, seconds], and replies to each with true, false, or null if it was aborted.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import signal
import subprocess
import sys
from fractions import Fraction
from functools import cache
from typing import Any

MAX_CHARACTERS = 200
"""Longer answers are compared as text."""
CPU_SECONDS = 0.4
"""CPU time limit of one comparison."""
MEMORY_BYTES = 2**30
"""Memory limit of the comparison process."""

UNICODE = str.maketrans(
    {
        "−": "-",  # noqa: RUF001
        "–": "-",  # noqa: RUF001
        "×": r"\times ",  # noqa: RUF001
        "·": r"\cdot ",
        "⋅": r"\cdot ",
        "÷": r"\div ",
        "±": r"\pm ",
    }
    | {
        "≤": r"\le ",
        "≥": r"\ge ",
        "≠": r"\ne ",
        "≈": r"\approx ",
        "∞": r"\infty ",
        "π": r"\pi ",
        "θ": r"\theta ",
    }
    | {"∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "°": r"^\circ "}  # noqa: RUF001
    | {"²": "^{2}", "³": "^{3}", "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}"}
)
TEXT = r"\\(?:text(?:rm|bf|it|normal)?|mathrm|mathbf|mbox)\s*\{([^{}]*)\}"
LAYOUT = [
    (r"(?<!\\)\\[()\[\]]", ""),
    (r"\\(?:left|right|[bB]igg?[lr]?|displaystyle)(?![a-zA-Z])", ""),
    # An explicit separator of thousands.
    (r"(?<=\d)(?:\{,\}|,?\\!|\\,)\s?(?=\d{3}(?!\d))", ""),
    (r"(?<!\\)\\[,;:! ]|\\q?quad(?![a-zA-Z])|~|\s+", " "),
    (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
    (r"\\frac ?(\d) ?(\d)", r"\\frac{\1}{\2}"),
    (r"\\varnothing(?![a-zA-Z])", r"\\emptyset"),
    (r"\\langle(?![a-zA-Z])(.*)\\rangle(?![a-zA-Z])", r"(\1)"),
    (r"\^\{\\circ ?\}|\\degree(?![a-zA-Z])", r"^\\circ"),
    (r"√ ?(\d+(?:\.\d+)?|[a-zA-Z])", r"\\sqrt{\1}"),
    (r"(?:√|(?<!\\)sqrt) ?\(([^()]*)\)", r"\\sqrt{\1}"),
    (r"√(?= ?\{)", r"\\sqrt"),
]
EDGES = [
    (r"(?<!\w) | (?!\w)", ""),
    (r"^\*\*(.+)\*\*$", r"\1"),
    (r"^(?:=|\\approx )|[.,;\\]+$", ""),
    (rf"^{TEXT}$", r"\1"),
    (r"(?<!\w) | (?!\w)|\.$", ""),
    (r"^([^=<>!]*[^=<>!a-zA-Z])=([a-zA-Z])$", r"\2=\1"),
    (",", ", "),  # math-verify reads 1,234 as one number
]
BRACKET = re.compile(r"(\\[{}]|[()\[\]])")
DEPTH = {r"\{": 1, "(": 1, "[": 1, r"\}": -1, ")": -1, "]": -1}
THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:(?:,\d{3})+(?!,?\d)|(?: \d{3})+(?![\d ,]*[\d/\\]))")

UNITS = {
    "cm": "centimeter centimetre",
    "mm": "millimeter millimetre",
    "km": "kilometer kilometre",
    "m": "meter metre",
    "in": "inch inches",
    "ft": "foot feet",
    "yd": "yard",
    "mi": "mile",
    "kg": "kilogram",
    "g": "gram",
    "lb": "pound",
    "oz": "ounce",
    "h": "hour hr",
    "min": "minute",
    "s": "second sec",
    "L": "liter litre",
    "mL": "ml",
    "km/h": "kph kmh",
    "mi/h": "mph",
    "$": "dollar usd",
    "€": "euro",
    "¥": "yen",
    "°": "degree deg",
    "rad": "radian",
    "%": "percent pct",
    "/": "per",
}
"""Canonical name of a unit -> its aliases, separated by spaces."""
ALIASES = {alias: unit for unit, aliases in UNITS.items() for alias in aliases.split()}
NO_UNITS = {
    "thousand",
    "million",
    "billion",
    "dozen",
    "sin",
    "cos",
    "tan",
    "log",
    "exp",
    "sqrt",
    "and",
    "theta",
}
_LONG = "|".join(
    sorted((re.escape(name) for name in [*UNITS, *ALIASES] if len(name) > 1), key=len, reverse=True)
)
_SPELLED = rf"(?:[ /]?{TEXT}(?:\^\{{?-?\d\}}?)?)+"  # 5\text{ cm}^2
# 5cm and 5 m have units; 5m is a product.
_BARE = rf"(?<=\d)(?: ?(?:{_LONG})| [mgshL])(?:/(?:{_LONG}|[mgshL]))?(?:\^\{{?\d\}}?)?"
_WORDS = r"(?<=\d) [a-zA-Z]{3,}(?: [a-zA-Z]+)*"
_BASE = r"(?<=\d)_\{?\d+\}?"
_SIGN = rf"\^\\circ ?(?:{TEXT}|[CF])?|\\?[$%]|[€£¥]"
UNIT = re.compile(
    rf"(?P<value>(?!{TEXT}).*?[\w)}}\]|!])(?P<unit>{_SPELLED}|{_BARE}|{_WORDS}|{_BASE}|{_SIGN})"
)
CURRENCY = re.compile(r"([+-]?)(\\?\$|[€£¥])(?=[+-]?[\d.])")

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


def quantity(text: str) -> tuple[str, str]:
    r"""Splits `text` into a value in canonical layout and the canonical name of its unit.

    Examples:
        >>> quantity(r"12\text{ inches}")
        ('12', 'in')
        >>> quantity("$5")
        ('5', '$')
    """
    text = _canonical_layout(text)
    currency = CURRENCY.match(text)
    if currency:
        text = currency[1] + text[currency.end() :]
    match = UNIT.fullmatch(text)
    if not match or NO_UNITS.intersection(re.findall("[a-z]+", match["unit"])):
        return text, _canonical_unit(currency[2]) if currency else ""
    return match["value"], _canonical_unit((currency[2] if currency else "") + match["unit"])


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


def aborted_comparisons() -> int:
    """Number of comparisons of this process that were aborted at a limit."""
    return _comparison_process().aborted


def _canonical_layout(text: str) -> str:
    if not len(re.findall(r"(?<!\\)\$", text)) % 2:
        text = re.sub(r"(?<!\\)\$", "", text)  # math delimiters, not currency
    text = _substitute(text.translate(UNICODE), LAYOUT)
    depth, parts = 0, BRACKET.split(text)
    for index, part in enumerate(parts):
        depth += DEPTH.get(part, 0)
        if not depth:
            parts[index] = THOUSANDS.sub(lambda match: re.sub("[, ]", "", match[0]), part)
    return _substitute("".join(parts).strip(), EDGES)


def _substitute(text: str, rules: list[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        text = re.sub(pattern, replacement, text)
    return text


def _canonical_unit(text: str) -> str:
    r"""The canonical name of a unit: in^2 for `\text{ square inches}` and for `in^{2}`."""
    text = (
        re.sub(TEXT, r" \1", text).replace(r"^\circ", "°").translate(str.maketrans("", "", "\\{}"))
    )
    text = re.sub(r"[^\W\d_]+", lambda match: _canonical_unit_name(match[0]), text)
    text = re.sub(r"\b(?:square|sq) (\w+)", r"\1^2", re.sub(r"\bcubic (\w+)", r"\1^3", text))
    return re.sub(r"\s*/\s*", "/", text).strip()


def _canonical_unit_name(word: str) -> str:
    lower = word.lower()
    singular = lower.removesuffix("s") if len(word) > 2 else lower
    return word if word in UNITS else ALIASES.get(lower) or ALIASES.get(singular) or singular


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
    return _comparison_process().compare(expected, value, seconds)


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


class _ComparisonProcess:
    """The separate process that runs math-verify. It is started with the first comparison."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.aborted = 0

    def compare(self, reference: str, answer: str, seconds: float) -> bool:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([reference, answer, seconds]) + "\n")
        process.stdin.flush()
        verdict = json.loads(process.stdout.readline() or "null")
        self.aborted += verdict is None
        return verdict is True

    def _running(self) -> subprocess.Popen[str]:
        if self.process is None or self.process.poll() is not None:
            self.close()
            command = [sys.executable, "-P", __file__]
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            assert self.process.stdout is not None
            if self.process.stdout.readline() != "ready\n":
                self.close()
                raise RuntimeError(
                    f"{' '.join(command)} did not start; run it manually to see the error"
                )
        return self.process

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


@cache
def _comparison_process() -> _ComparisonProcess:
    process = _ComparisonProcess()
    atexit.register(process.close)
    return process


WARM = [
    ("1<x<2", r"[1,\frac{3}{2})\cup\{2,3\}"),
    (r"\sqrt{2}+\sin^2 x", r"\log_2 x!+e^{2a_n}"),
    ("x=1,y=2", "(1,2,3)"),
    ("(x,y)=(1,2)", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
    (r"\frac{n(n+1)}{2}", r"\pi r^2"),
]
"""Comparisons that warm up the process: sympy and the parser load much of their code lazily."""


def _serve() -> None:
    import gc
    import logging
    import resource

    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for pair in WARM:
        _equal_by_math_verify(*pair)
    gc.freeze()
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(_compare_in_fork(*json.loads(line))), flush=True)


def _compare_in_fork(reference: str, answer: str, seconds: float) -> bool | None:
    """Compares in a forked process; None if the fork was killed at a limit."""
    pid = os.fork()
    if not pid:
        verdict = None
        try:
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, seconds)
            verdict = _equal_by_math_verify(reference, answer)
        finally:
            os._exit({True: 0, False: 1, None: 2}[verdict])
    return {0: True, 1: False}.get(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _equal_by_math_verify(reference: str, answer: str) -> bool:
    from latex2sympy2_extended.math_normalization import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse, verify

    normalization = NormalizationConfig(
        basic_latex=True, malformed_operators=True, nits=True, boxed="none"
    )
    config = LatexExtractionConfig(boxed_match_priority=-1, normalization_config=normalization)
    sides = [
        parse(
            f"${side}$",
            [config],
            extraction_mode="first_match",
            fallback_mode="no_fallback",
            parsing_timeout=None,
        )
        for side in (reference, answer)
    ]
    equal_sides = bool(verify(*sides, allow_set_relation_comp=True, timeout_seconds=None))
    return equal_sides and not _relatively_different(sides)


def _relatively_different(sides: list[list[Any]]) -> bool:
    """Whether both sides are numbers with a relative difference above 1e-5.

    math-verify compares six decimals, which is not enough for very small numbers.
    """
    from sympy import Expr

    if not all(
        isinstance(side[0], Expr) and side[0].is_number and side[0].is_finite for side in sides
    ):
        return False
    left, right = (side[0].evalf(20) for side in sides)
    return bool(abs(left - right) > 1e-5 * max(abs(left), abs(right)) + 1e-30)


if __name__ == "__main__":
    _serve()
