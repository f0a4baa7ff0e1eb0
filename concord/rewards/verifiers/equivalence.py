r"""Whether two mathematical answers mean the same: plain numbers are compared here, all else by math-verify.

What counts (each rule has its cases in tests/rewards/test_verifiers.py):
- Layout does not: spaces, `$`, `\left`, `\dfrac`, a final period; Unicode stands for its LaTeX (√ π ² ½ ° …).
- Numbers are exact: 0.5 is 1/2, 0.33 is not 1/3. A decimal of six digits or more also equals what it is rounded from.
- A unit that only one side names is ignored; two different ones are not equal, and none is converted (1 m is not
  100 cm). Currencies, degrees and the base of a numeral are units. The percent sign is one too, and 50% is also 0.5.
- A comma before three digits groups thousands (1,234 and 1{,}234); inside brackets it separates: (1,234) is a pair.
- (1,2), [1,2], [1,2) and \{1,2\} are four things; a list without brackets may stand for (1,2) or for \{1,2\}.
- x=5 may stand for 5, not for y=5. Words are compared as words. Letters are the same in either case; i is imaginary.

A hostile answer (`9^{9^{9^9}}`) can keep sympy busy for ever inside one C call, or fill the memory. So math-verify runs
in a process of its own, which forks for each comparison: the fork is ended at limits of memory and of processor time
(not of the clock: a busy machine must not make right answers wrong), and the next one starts from the same warm state.
What was ended counts as not equal. Answers are read as LaTeX only: sympy's reader of plain expressions calls `eval`.
This file is also the program of that process, which answers each line of JSON, [reference, answer, seconds], by true,
false, or null for what was ended.
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
CPU_SECONDS = 0.4
MEMORY_BYTES = 2**30

UNICODE = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "×": r"\times ",
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
    (
        r"(?<=\d)(?:\{,\}|,?\\!|\\,)\s?(?=\d{3}(?!\d))",
        "",
    ),  # a separator that is marked as one of thousands
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
    (",", ", "),  # math-verify takes 1,234 for a number
]
BRACKET = re.compile(r"(\\[{}]|[()\[\]])")
DEPTH = {r"\{": 1, "(": 1, "[": 1, r"\}": -1, ")": -1, "]": -1}
THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:(?:,\d{3})+(?!,?\d)|(?: \d{3})+(?![\d ,]*[\d/\\]))")

UNITS = {
    "cm": "centimeter centimetre", "mm": "millimeter millimetre", "km": "kilometer kilometre", "m": "meter metre",
    "in": "inch inches", "ft": "foot feet", "yd": "yard", "mi": "mile", "kg": "kilogram", "g": "gram",
    "lb": "pound", "oz": "ounce", "h": "hour hr", "min": "minute", "s": "second sec", "L": "liter litre", "mL": "ml",
    "km/h": "kph kmh", "mi/h": "mph", "$": "dollar usd", "€": "euro", "¥": "yen", "°": "degree deg", "rad": "radian",
    "%": "percent pct", "/": "per",
}  # fmt: skip
"""The name by which a unit is compared, and others that it goes by."""
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
_BARE = rf"(?<=\d)(?: ?(?:{_LONG})| [mgshL])(?:/(?:{_LONG}|[mgshL]))?(?:\^\{{?\d\}}?)?"  # 5cm, 5 m; but 5m is a product
_WORDS = r"(?<=\d) [a-zA-Z]{3,}(?: [a-zA-Z]+)*"
_BASE = r"(?<=\d)_\{?\d+\}?"
_SIGN = rf"\^\\circ ?(?:{TEXT}|[CF])?|\\?[$%]|[€£¥]"
UNIT = re.compile(
    rf"(?P<value>(?!{TEXT}).*?[\w)}}\]|!])(?P<unit>{_SPELLED}|{_BARE}|{_WORDS}|{_BASE}|{_SIGN})"
)
CURRENCY = re.compile(r"([+-]?)(\\?\$|[€£¥])(?=[+-]?[\d.])")

DECIMAL = r"\d+\.?\d*|\.\d+"
SCIENTIFIC = re.compile(
    rf"([+-]?)({DECIMAL})(?:(?:(?:\\times|\\cdot|\*) ?10\^|[eE])(?:\{{([+-]?\d{{1,3}})\}}|([+-]?\d{{1,3}})))?"
)
FRACTION = re.compile(rf"([+-]?) ?(?:(\d+) )?({DECIMAL})/({DECIMAL})")
REPEATING = re.compile(r"([+-]?)(\d*)\.(\d*)\\(?:overline|bar)\{(\d+)\}")
ROUNDED_DIGITS = 6
Number = tuple[Fraction, Fraction]
LETTERS = re.compile(r"[^\W\d_](?:[^\W\d_]|[ '])*")
ASSIGNED = re.compile("[a-zA-Z]=")
IMAGINARY = re.compile(r"(?<![a-zA-Z\\_])(?<!_\{)i(?![a-zA-Z]| ?=)")


def equal(reference: str, answer: str, seconds: float = CPU_SECONDS) -> bool:
    """Whether both mean the same; False for what is too long, cannot be read, or takes longer than `seconds`."""
    reference, answer = reference.strip(), answer.strip()
    if reference == answer or max(len(reference), len(answer)) > MAX_CHARACTERS:
        return reference == answer != ""
    (wanted, unit), (given, other) = quantity(reference), quantity(answer)
    if not given or (unit and other and unit != other):
        return False
    left, right = number(wanted), number(given)
    if left is None or right is None:
        return _same_text(wanted, given, seconds)
    if unit != other and "%" in (unit, other):
        percent, bare = (left, right) if unit == "%" else (right, left)
        return _same_number(percent, bare) or _same_number(
            (percent[0] / 100, percent[1] / 100), bare
        )
    return _same_number(left, right)


def quantity(text: str) -> tuple[str, str]:
    """The value in `text`, its layout made plain, and its unit by one name: `12\\text{ inches}` is ("12", "in")."""
    text = _plain(text)
    currency = CURRENCY.match(text)
    if currency:
        text = currency[1] + text[currency.end() :]
    found = UNIT.fullmatch(text)
    if not found or NO_UNITS.intersection(re.findall("[a-z]+", found["unit"])):
        return text, _unit(currency[2]) if currency else ""
    return found["value"], _unit((currency[2] if currency else "") + found["unit"])


def number(text: str) -> Number | None:
    """The value of a plain number, and how far off a rounded one may be (0 for what is exact); None for all else."""
    text = re.sub(rf"\\frac\{{({DECIMAL})\}}\{{({DECIMAL})\}}", r" \1/\2", text).strip()
    if found := SCIENTIFIC.fullmatch(text):
        return _decimal(found[1] + found[2], Fraction(10) ** int(found[3] or found[4] or 0))
    if found := FRACTION.fullmatch(text):
        top, bottom = Fraction(found[3]), Fraction(found[4])
        return (
            (int(found[1] + "1") * (int(found[2] or 0) + top / bottom), Fraction(0))
            if bottom
            else None
        )
    if found := REPEATING.fullmatch(text):
        sign, whole, fixed, period = found.groups()
        nines = 10 ** len(fixed) * (10 ** len(period) - 1)
        return Fraction(
            int(sign + "1") * (int(whole + fixed + period) - int(whole + fixed or 0)), nines
        ), Fraction(0)
    return None


def _decimal(digits: str, power: Fraction) -> Number:
    places = digits.partition(".")[2]
    rounded = "." in digits and len(digits.replace(".", "").lstrip("+-0")) >= ROUNDED_DIGITS
    return Fraction(digits) * power, power / (2 * 10 ** len(places)) if rounded else Fraction(0)


def unfinished() -> int:
    """How many comparisons of this process were ended at their limit, and so counted as not equal."""
    return _comparer().unfinished


def _plain(text: str) -> str:
    if not len(re.findall(r"(?<!\\)\$", text)) % 2:
        text = re.sub(r"(?<!\\)\$", "", text)  # delimiters, no currency
    text = _replaced(text.translate(UNICODE), LAYOUT)
    depth, parts = 0, BRACKET.split(text)
    for place, part in enumerate(parts):
        depth += DEPTH.get(part, 0)
        parts[place] = (
            part if depth else THOUSANDS.sub(lambda found: re.sub("[, ]", "", found[0]), part)
        )
    return _replaced("".join(parts).strip(), EDGES)


def _replaced(text: str, rules: list[tuple[str, str]]) -> str:
    for pattern, to in rules:
        text = re.sub(pattern, to, text)
    return text


def _unit(text: str) -> str:
    """One name for a unit: `\\text{ square inches}` and `in^{2}` are in^2."""
    text = (
        re.sub(TEXT, r" \1", text).replace(r"^\circ", "°").translate(str.maketrans("", "", "\\{}"))
    )
    text = re.sub(r"[^\W\d_]+", lambda found: _name(found[0]), text)
    text = re.sub(r"\b(?:square|sq) (\w+)", r"\1^2", re.sub(r"\bcubic (\w+)", r"\1^3", text))
    return re.sub(r"\s*/\s*", "/", text).strip()


def _name(word: str) -> str:
    lower = word.lower()
    singular = lower.removesuffix("s") if len(word) > 2 else lower
    return word if word in UNITS else ALIASES.get(lower) or ALIASES.get(singular) or singular


def _same_number(left: Number, right: Number) -> bool:
    """Equal, or one is a decimal that the other, which is exact, rounds to."""
    slack = 0 if left[1] and right[1] else max(left[1], right[1])
    return abs(left[0] - right[0]) <= slack


def _same_text(wanted: str, given: str, seconds: float) -> bool:
    """What is not two plain numbers: the same text, the same words, or the same to math-verify."""
    if wanted == given:
        return True
    words = [re.sub(TEXT, r"\1", side).casefold() for side in (wanted, given)]
    spoken = all(LETTERS.fullmatch(side) and not re.search(r"\b(and|or)\b", side) for side in words)
    if spoken and (
        words[0] == words[1] or min(map(len, words)) > 3
    ):  # three letters may be a product: xy is yx
        return words[0] == words[1]
    kinds = [_outer(wanted), _outer(given)]
    if "," in wanted + given and all(kinds) and kinds[0] != kinds[1]:
        return False
    if "()" in kinds:
        wanted, given = (
            side if BRACKET.search(side) or "," not in side else _tuple(side)
            for side in (wanted, given)
        )
    if not re.search(r"\\(?:sum|prod)", wanted + given):
        wanted, given = IMAGINARY.sub("{I}", wanted), IMAGINARY.sub("{I}", given)
    return _comparer().ask(wanted, given, seconds)


def _tuple(text: str) -> str:
    """The list `text` in brackets, assignments in the order of their letters: x=2, y=1 is (2, 1)."""
    parts = text.split(", ")
    if all(ASSIGNED.match(part) for part in parts):
        parts = [ASSIGNED.sub("", part) for part in sorted(parts)]
    return f"({', '.join(parts)})"


def _outer(text: str) -> str:
    """The pair of brackets that encloses all of `text`: `(]` for (1,2]; nothing for (1,2),(3,4)."""
    depth, parts = 0, BRACKET.split(text)
    for place, part in enumerate(parts):
        depth += DEPTH.get(part, 0)
        if place and not depth:
            return (
                parts[1] + part
                if not parts[0] and place == len(parts) - 2 and not parts[-1]
                else ""
            )
    return ""


class _Comparer:
    """The comparing process; started when first asked."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.unfinished = 0

    def ask(self, reference: str, answer: str, seconds: float) -> bool:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([reference, answer, seconds]) + "\n")
        process.stdin.flush()
        verdict = json.loads(process.stdout.readline() or "null")
        self.unfinished += verdict is None
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
                raise RuntimeError(f"{' '.join(command)} did not start; run it by hand to see why")
        return self.process

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


@cache
def _comparer() -> _Comparer:
    comparer = _Comparer()
    atexit.register(comparer.close)
    return comparer


WARM = [
    ("1<x<2", r"[1,\frac{3}{2})\cup\{2,3\}"),
    (r"\sqrt{2}+\sin^2 x", r"\log_2 x!+e^{2a_n}"),
    ("x=1,y=2", "(1,2,3)"),
    ("(x,y)=(1,2)", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
    (r"\frac{n(n+1)}{2}", r"\pi r^2"),
]
"""What the comparing process compares first: much of sympy, and the parser's tables, are loaded when they are used."""


def _serve() -> None:
    import gc
    import logging
    import resource

    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for pair in WARM:
        _same_to_math_verify(*pair)
    gc.freeze()
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(_forked(*json.loads(line))), flush=True)


def _forked(reference: str, answer: str, seconds: float) -> bool | None:
    pid = os.fork()
    if not pid:
        verdict = None
        try:
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, seconds)
            verdict = _same_to_math_verify(reference, answer)
        finally:
            os._exit({True: 0, False: 1, None: 2}[verdict])
    return {0: True, 1: False}.get(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _same_to_math_verify(reference: str, answer: str) -> bool:
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
    return bool(verify(*sides, allow_set_relation_comp=True, timeout_seconds=None)) and not _apart(
        sides
    )


def _apart(sides: list[list[Any]]) -> bool:
    """Whether two numbers that agree to six decimals, as math-verify asks, are too small for that to mean anything."""
    from sympy import Expr

    if not all(
        isinstance(side[0], Expr) and side[0].is_number and side[0].is_finite for side in sides
    ):
        return False
    left, right = (side[0].evalf(20) for side in sides)
    return bool(abs(left - right) > 1e-5 * max(abs(left), abs(right)) + 1e-30)


if __name__ == "__main__":
    _serve()
