r"""Names: what an answer may call its value, such as `x`, `f(x)`, `\angle ABC` or `Total cost`."""

from __future__ import annotations

import re

from concord.rewards.verifiers.layout import TEXT
from concord.rewards.verifiers.quantities import changes_number

_GREEK = (
    r"\\(?:alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|vartheta|iota|kappa|lambda|mu"
    r"|nu|xi|rho|sigma|tau|phi|varphi|chi|psi|omega|Gamma|Delta|Theta|Lambda|Sigma|Phi|Psi|Omega"
    r"|ell)(?![a-zA-Z])"
)
_LETTER = rf"(?:[a-zA-Z]|{_GREEK})"
_MARKS = rf"(?:_(?:\w|{_GREEK}|\{{[^{{}}]*\}})|'|\^\{{?(?:\*|\\prime)\}}?)*"
_ARGUMENT = rf"{_LETTER}{_MARKS}(?:, ?{_LETTER}{_MARKS})*"
_NUMBERS = r"-?\d+(?:, ?-?\d+)*"
SYMBOL = re.compile(rf"{_LETTER}{_MARKS}")
NAMES = [
    SYMBOL,
    re.compile(rf"{_LETTER}{_MARKS}(?:\^\{{?-1\}}?)?\({_ARGUMENT}\)"),
    re.compile(rf"[fghpqFGHPQ]{_MARKS}(?:\^\{{?-1\}}?)?\({_NUMBERS}\)"),
    re.compile(rf"[fghpqFGHPQ]{_MARKS}\([fghpqFGHPQ]{_MARKS}\((?:{_ARGUMENT}|{_NUMBERS})\)\)"),
    re.compile(
        r"(?:[PE]|\\Pr|\\mathbb ?\{?[PE]\}?|\\(?:operatorname|text)\{\w+\})[(\[][^()\[\]]*[)\]]"
    ),
    re.compile(
        r"m?\\(?:angle|triangle|overline|widehat|overrightarrow|vec|hat|bar|tilde|dot|Delta|det|dim)"
        rf" ?\{{?{_LETTER}{{1,4}}\}}?{_MARKS}"
    ),
    re.compile(rf"[A-Z]{{2,4}}{_MARKS}"),
    re.compile(r"\|[A-Z]{1,3}\||\\\|[a-z]\\\||n\([A-Z]\)"),
    re.compile(r"[A-Z]\^\{?(?:-1|T|c)\}?"),
    re.compile(r"\\frac ?\{d ?[a-zA-Z]?\}\{d ?[a-zA-Z]\}"),
]
WORDS = re.compile(rf"(?:{TEXT}|[a-zA-Z' ])+(?:_\{{?[\w,]+\}}?)?")
PROSE = re.compile(r"[^\W\d_]{4,}|\d \d|\.\d+\.|[\"'`#@;:?$€£¥₹%\ufffd\x00-\x1f]")
"""What no expression contains: longer words, two numbers in a row, some signs."""
SHORT_WORDS = {"sum", "ans", "max", "min", "avg", "age", "lcm", "gcd", "sec"}
CONSTANTS = {"e", "i"}
OPERATIONS = {"square", "cube", "times", "less", "more", "opposite", "log", "sine", "cosine"}
"""Words for something else than the value itself, as in "square of x"."""


def is_name(text: str) -> bool:
    r"""Whether a side of an equation names the value of the other side.

    Examples:
        >>> is_name("f(x)"), is_name("Total cost"), is_name(r"\angle ABC")
        (True, True, True)
        >>> is_name("2x"), is_name("x+1"), is_name("xy"), is_name(r"\pi")
        (False, False, False, False)
    """
    return any(pattern.fullmatch(text) for pattern in NAMES) or _is_phrase(text)


def is_variable(text: str) -> bool:
    """Whether a side of an inequality is its variable: a name, but no constant such as e."""
    return text not in CONSTANTS and is_name(text)


def is_prose(text: str) -> bool:
    r"""Whether a text has words or signs that are no mathematics, so that only texts compare.

    Examples:
        >>> is_prose("even"), is_prose(r"5\text{k}"), is_prose("abc"), is_prose(r"\sqrt{x}")
        (True, True, False, False)
    """
    without_commands = re.sub(r"\\[a-zA-Z]+|\{[bpvBV]?matrix\}|_\d+", "+", text)
    return bool(
        r"\text" in text
        or re.search(
            r"[^\W\d_]{4,}|\d \d|\.\d+\.|[\"'`#@;:?$€£¥₹%\ufffd\x00-\x1f]", without_commands
        )
        or re.search(r"\\(?:ldots|operatorname)", text)
    )


def plain_words(text: str) -> str:
    r"""The text without `\text`, lower-case, to compare words."""
    return " ".join(re.sub(TEXT, r" \1 ", text).casefold().split())


def _is_phrase(text: str) -> bool:
    words = plain_words(text).split("_")[0].split()
    return (
        bool(WORDS.fullmatch(text))
        and any(len(word) > 3 or word in SHORT_WORDS for word in words)
        and not changes_number(" ".join(words))
        and not OPERATIONS.intersection(words)
    )
