r"""Splits an answer into a value in canonical layout and a unit.

Two answers that differ only in layout get the same value: spaces, `$`, `\left`, `\dfrac`, Unicode
symbols, separators of thousands. `concord.rewards.verifiers.equivalence` lists the rules. Units
have one name each (`cm` for centimeters) and are not converted. Currencies, degrees, the percent
sign and the base of a numeral are units.
"""

from __future__ import annotations

import re

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
