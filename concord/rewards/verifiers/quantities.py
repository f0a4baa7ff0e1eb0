r"""Splits an answer in canonical layout into a value and a unit.

Units have one name each (`cm` for centimeters) and are not converted. Currencies, degrees, the
percent sign and the base of a numeral are units. A word that changes the number is no unit: `12
million` is the value 12000000, and `5 squared` stays as it is.
"""

from __future__ import annotations

import re
from fractions import Fraction

from concord.rewards.verifiers.layout import TEXT
from concord.rewards.verifiers.numerals import number

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
    "lb": "pound lbs",
    "oz": "ounce",
    "h": "hour hr",
    "min": "minute",
    "s": "second sec",
    "L": "liter litre",
    "mL": "ml",
    "km/h": "kph kmh",
    "mi/h": "mph",
    "$": "dollar usd",
    "€": "euro eur",
    "£": "gbp",
    "¥": "yen jpy",
    "₹": "rupee inr rs",
    "¢": "cent",
    "°": "degree deg",
    "rad": "radian",
    "%": "percent pct",
    "/": "per",
}
"""Canonical name of a unit -> its aliases, separated by spaces."""
ALIASES = {alias: unit for unit, aliases in UNITS.items() for alias in aliases.split()}
SINGLE_LETTERS = set("mgshLlCFNJWVAad")
"""Single letters that may be a unit. Others may be a variable, or multiply, as k and K do."""
_ORDINALS = (
    "third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
)
SCALES: dict[str, int | Fraction] = {
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "quadrillion": 10**15,
    "lakh": 10**5,
    "crore": 10**7,
    "dozen": 12,
    "quarter": Fraction(1, 4),
    "hundredth": Fraction(1, 100),
    "thousandth": Fraction(1, 1000),
    "millionth": Fraction(1, 10**6),
    "billionth": Fraction(1, 10**9),
}
"""Words right after a number that multiply it."""
SCALES.update((name, Fraction(1, number)) for number, name in enumerate(_ORDINALS.split(), 3))
SHORT_SCALES = {
    "k": 10**3,
    "m": 10**6,
    "mn": 10**6,
    "b": 10**9,
    "bn": 10**9,
}
"""Letters that multiply an amount of money."""
CHANGING = frozenset(
    re.findall(
        r"\w+",
        "half halves gross score squared cubed root factorial minus plus divided multiplied "
        "added subtracted raised power point modulo mod remainder zero one two three four five "
        "six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
        "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety ones twos "
        "threes fours fives tens twenties not and or than if unless except least most wrong "
        "incorrect false basis permille permil kilo mega giga twice double triple thrice "
        "doubled tripled halved inverse reciprocal pi infinity grand mil thou choose fold",
    )
)
"""Words after a number that change it, or what is said of it."""
_LONG = "|".join(
    sorted(
        (re.escape(name) for name in [*UNITS, *ALIASES] if len(name) > 1 and name.isalpha()),
        key=len,
        reverse=True,
    )
)
_SIGNS = "$€£¥₹₽₩₪₫₺₦₱฿₴¢"
_CODES = "USD|EUR|GBP|INR|JPY|CNY|RMB|AUD|CAD|CHF|NZD|SGD|HKD|KRW|MXN|BRL|ZAR|SEK|NOK|DKK|Rs"
_SPELLED = rf"(?:[ /]?{TEXT}(?:\^\{{?-?\d\}}?)?)+"  # 5\text{ cm}^2
# 5cm and 5 m have units; 5m is a product.
_BARE = (
    rf"(?<=[\d}})])(?: ?(?:{_LONG}|Rs|mph|km/h|mi/h)| [mgshL])(?:/(?:{_LONG}|[mgshL]))?"
    r"(?:\^\{?\d\}?)?"
)
_WORDS = r"(?:(?<=\d) (?:US |an? )?[a-zA-Z]{3,}|(?<=[})]) ?[a-zA-Z]{4,})(?: [a-zA-Z]+)*"
_ORDINAL = r"(?<=\d)(?:st|nd|rd|th|\^\{?(?:st|nd|rd|th)\}?)"
_BASE = r"(?<=\d)_\{?\d+\}?"
_SIGN = rf"\^\\circ ?(?:{TEXT}|[CF])?|\\?%|[{_SIGNS}]|per cent"
UNIT = re.compile(
    rf"(?P<value>(?!{TEXT}).*?[\w)}}\]|!])"
    rf"(?P<unit>{_SPELLED}|{_BARE}|{_WORDS}|{_ORDINAL}|{_BASE}|{_SIGN})"
)
CURRENCY = re.compile(
    rf"([+-]?)(?:\\text\{{)?"
    rf"((?:(?:US|A|C|HK|NZ|{_CODES}) ?)?[{_SIGNS}]|(?:{_CODES})(?![a-zA-Z])\.?)\}}? ?"
    r"(?=[+-]?[\d.])"
)
_DOLLARS = re.compile(r"(?:US|USD) ?\$")
SHORT_AMOUNT = re.compile(r"([+-]?[\d.]+) ?(?:\\text\{)?([a-zA-Z]{1,2})\}?")
WORD = re.compile(r"[^\W\d_]+")


def quantity(text: str) -> tuple[str, str]:
    r"""Splits `text` into a value and the canonical name of its unit, empty without one.

    Examples:
        >>> quantity(r"12\text{inches}")
        ('12', 'in')
        >>> quantity("12 million dollars")
        ('12000000', '$')
        >>> quantity("5 squared")
        ('5 squared', '')
    """
    currency = CURRENCY.match(text)
    symbol = canonical_unit(_DOLLARS.sub("$", currency[2]).rstrip(".")) if currency else ""
    if currency:
        text = currency[1] + text[currency.end() :]
        short = SHORT_AMOUNT.fullmatch(text)
        if short and (scale := SHORT_SCALES.get(short[2].lower())):
            return _scaled(short[1], Fraction(scale)) or text, symbol
    match = UNIT.fullmatch(text)
    split = _scale_and_unit(match["unit"]) if match else None
    if not match or not split:
        return text, symbol
    factor, unit = split
    value = match["value"] if factor == 1 else _scaled(match["value"], factor)
    if value is None:
        return text, symbol
    return value, unit if not symbol or unit == symbol else (symbol + unit)


def changes_number(words: str) -> bool:
    """Whether one of the words changes the number that they stand beside."""
    return any(
        word in CHANGING or word.removesuffix("s") in SCALES for word in words.lower().split()
    )


def canonical_unit(text: str) -> str:
    r"""The canonical name of a unit: in^2 for `\text{ square inches}` and for `in^{2}`."""
    text = re.sub(TEXT, r" \1", text).replace(r"^\circ", "°")
    text = re.sub(r"\bper ?cent(age points?)?\b", "percent", text, flags=re.IGNORECASE)
    text = re.sub(r"\bUS (?=dollar)", "", text)
    text = re.sub(r"\^?\{?\b(?:st|nd|rd|th)\b\}?", "th", text)
    text = text.translate(str.maketrans("", "", "\\{}"))
    text = WORD.sub(lambda match: _canonical_name(match[0]), text)
    text = re.sub(r"\b(?:square|sq) (\w+)", r"\1^2", re.sub(r"\bcubic (\w+)", r"\1^3", text))
    return re.sub(r"\s*/\s*", "/", text).strip()


def _scale_and_unit(text: str) -> tuple[Fraction, str] | None:
    """The factor of words such as million, and the unit after them; None if it is no unit."""
    words = re.sub(TEXT, r" \1", text)
    names = WORD.findall(words)
    scale = Fraction(1)
    while names and (factor := SCALES.get(_singular(names[0].lower()))):
        scale *= factor
        words = words.partition(names.pop(0))[2]
    is_code = re.search(r"[0-9+=<>()]", re.sub(r"\^\{?-?\d\}?|^_\{?\d+\}?", "", words))
    letters = {name for name in names if len(name) == 1}
    is_power = names[-1:] in (["square"], ["cube"], ["cubic"])
    if is_code or is_power or changes_number(" ".join(names)) or letters - SINGLE_LETTERS:
        return None
    return scale, canonical_unit(words)


def _scaled(value: str, scale: Fraction) -> str | None:
    exact = number(value)
    return str(exact[0] * scale) if exact else None


def _singular(word: str) -> str:
    return word.removesuffix("s") if len(word) > 3 else word


def _canonical_name(word: str) -> str:
    if word in UNITS:
        return word
    lower = word.lower()
    singular = lower.removesuffix("s") if len(word) > 2 else lower
    return ALIASES.get(lower) or ALIASES.get(singular) or singular
