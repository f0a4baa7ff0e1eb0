r"""Brings an answer into canonical layout: answers that differ in layout alone become one text.

Layout is spaces, `$`, `\left`, `\dfrac`, colours, fonts, markdown, separators of thousands, and the
choice between a Unicode symbol and its LaTeX command.
"""

from __future__ import annotations

import re
import unicodedata

SYMBOLS = {
    r"\times ": "×✕⨯",  # noqa: RUF001
    r"\cdot ": "·⋅∙•",
    r"\div ": "÷",
    r"\pm ": "±",
    r"\mp ": "∓",
    r"\le ": "≤⩽≦",
    r"\ge ": "≥⩾≧",
    r"\ne ": "≠",
    r"\approx ": "≈≃",
    r"\infty ": "∞",
    r"\cup ": "∪",  # noqa: RUF001
    r"\cap ": "∩",
    r"\in ": "∈",
    r"\setminus ": "∖",  # noqa: RUF001
    r"\emptyset ": "∅⌀",
    r"^\circ ": "°º",
    r"\angle ": "∠",
    r"\langle ": "⟨",
    r"\rangle ": "⟩",
    r"\mathbb{R}": "ℝ",  # noqa: RUF001
    r"\mathbb{Z}": "ℤ",  # noqa: RUF001
    r"\mathbb{N}": "ℕ",  # noqa: RUF001
    r"\mathbb{Q}": "ℚ",  # noqa: RUF001
    r"\mathbb{C}": "ℂ",  # noqa: RUF001
    " and ": "∧",
    " or ": "∨",  # noqa: RUF001
    "-": "−‐‑‒–➖",  # noqa: RUF001
    "/": "⁄∕",  # noqa: RUF001
    "*": "∗",  # noqa: RUF001
    "|": "∣",  # noqa: RUF001
    "'": "′’",  # noqa: RUF001
}
"""LaTeX -> the Unicode characters that mean the same."""
UNICODE = {ord(symbol): latex for latex, symbols in SYMBOLS.items() for symbol in symbols}
RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ]+")
LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₐₙₓᵢₖ]+")
VULGAR = re.compile("[¼-¾⅐-⅞↉]")
SET_FRACTION = re.compile("([⁰¹²³⁴⁵⁶⁷⁸⁹]+)[⁄/]([₀₁₂₃₄₅₆₇₈₉]+)")  # noqa: RUF001
DOT_ABOVE = re.compile("(\\d)\u0307")
LINE_ABOVE = re.compile("((?:\\d[\u0304\u0305])+)")
GREEK = re.compile("[Α-Ωα-ω]")  # noqa: RUF001

STYLES = (
    r"mathbf|mathit|mathsf|mathtt|mathnormal|boldsymbol|bm|pmb|bf|it|rm|sf|tt|emph|underline"
    r"|ensuremath|boxed|fbox|(?:display|text|script)style|tiny|small|normalsize|[lL]arge|LARGE|[hH]uge"
    r"|left|right|middle|[bB]igg?[lrm]?|limits|strut|bfseries|itshape|mathstrut"
)
WITH_ARGUMENT = r"textcolor|color|colorbox|hspace|vspace|phantom|tag|label"
TEXT = r"\\text\{([^{}]*)\}"
FUNCTIONS = "sinh|cosh|tanh|arcsin|arccos|arctan|sin|cos|tan|cot|sec|csc|log|ln|exp|gcd|lcm"
SET_BUILDER = (r"^\{ ?([a-zA-Z] ?(?:\\in ?\\mathbb\{R\} ?)?[|:].*)\}$", r"\\{\1\\}")
LAYOUT = [
    (r"(?<!\\)\\[()\[\]]", ""),  # math delimiters
    (r"\\(?:left|right)\s*\.", ""),
    (rf"\\(?:{WITH_ARGUMENT})\*?\s*(?:\[[^\[\]]*\])?\s*\{{[^{{}}]*\}}", ""),
    (rf"\\(?:{STYLES})(?![a-zA-Z])", ""),
    (
        r"\\(?:text(?:rm|bf|it|sf|tt|sl|up|md|normal)?|mathrm|mbox|hbox)(?![a-zA-Z])\s*\{",
        r"\\text{",
    ),
    # An explicit separator of thousands.
    (r"(?<=\d)(?:\{,\}|,?\\!|\\,)\s?(?=\d{3}(?!\d))", ""),
    (r"(?<!\\)\\[,;:!> ]|\\(?:q?quad|enspace|thinspace)(?![a-zA-Z])|~|\s+", " "),
    (r"\\(?:[dtc]|nice|s)frac(?![a-zA-Z])", r"\\frac"),
    (r"\\frac ?(\d) ?(\d)", r"\\frac{\1}{\2}"),
    (r"\\frac ?(\d) ?\{", r"\\frac{\1}{"),
    (r"(\\frac ?\{[^{}]*\}) ?(\d)", r"\1{\2}"),
    (r"\{([^{}]*)\\over(?![a-zA-Z])([^{}]*)\}", r"\\frac{\1}{\2}"),
    (r"\\sqrt ?(\d)", r"\\sqrt{\1}"),
    (r"\\varnothing(?![a-zA-Z])", r"\\emptyset"),
    (r"\\[lr]?vert(?![a-zA-Z])|\\mid(?![a-zA-Z])", "|"),
    (r"\\lbrace(?![a-zA-Z])", r"\\{"),
    (r"\\rbrace(?![a-zA-Z])", r"\\}"),
    (r"\\langle(?![a-zA-Z])(.*)\\rangle(?![a-zA-Z])", r"(\1)"),
    (r"\\(?:leq|leqslant|leqq)(?![a-zA-Z])|<=", r"\\le "),
    (r"\\(?:geq|geqslant|geqq)(?![a-zA-Z])|>=", r"\\ge "),
    (r"\\neq(?![a-zA-Z])|\\not ?=|!=", r"\\ne "),
    (r"\\lt(?![a-zA-Z])", "<"),
    (r"\\gt(?![a-zA-Z])", ">"),
    (r"\\coloneqq(?![a-zA-Z])|:=|==", "="),
    (r"\\colon(?![a-zA-Z])", ":"),
    (r"\\(?:simeq|doteq)(?![a-zA-Z])", r"\\approx "),
    (r"\\(?:land|wedge)(?![a-zA-Z])", " and "),
    (r"\\(?:lor|vee)(?![a-zA-Z])", " or "),
    (r"(?<![a-zA-Z\\])(?:OR|Or)(?![a-zA-Z])", "or"),
    (r"(?<![a-zA-Z\\])(?:AND|And)(?![a-zA-Z])", "and"),
    (r"\\[lc]?dots(?![a-zA-Z])|\.{3,}", r"\\ldots "),
    (r"\^ ?\{ ?\\circ ?\}|\\degree(?![a-zA-Z])", r"^\\circ"),
    (r"\\pounds(?![a-zA-Z])", "£"),
    (r"\\yen(?![a-zA-Z])", "¥"),
    (r"\\(?:text)?euro(?![a-zA-Z])", "€"),
    (r"\\text\{\\?\$\}|\\textdollar(?![a-zA-Z])|\\\$", "$"),
    (r"√ ?(\d+(?:\.\d+)?|[a-zA-Z])", r"\\sqrt{\1}"),
    (r"(?:√|(?<!\\)sqrt) ?\(([^()]*)\)", r"\\sqrt{\1}"),
    (r"∛ ?(\d+(?:\.\d+)?|[a-zA-Z])", r"\\sqrt[3]{\1}"),
    (r"∜ ?(\d+(?:\.\d+)?|[a-zA-Z])", r"\\sqrt[4]{\1}"),
    (r"(\\sqrt ?\[[^\[\]]*\]) ?(\d)", r"\1{\2}"),
    (r"√(?= ?\{)", r"\\sqrt"),
    (rf"(?<![a-zA-Z\\])({FUNCTIONS}|pi|theta)(?![a-zA-Z])", r"\\\1"),
    (r"(?<![a-zA-Z\\])(?:inf|infinity)(?![a-zA-Z])", r"\\infty"),
    # Text that only separates, and numbers in text.
    (r"\\text\{([\s,;]*(?:(?:and|or)\b)?[\s,;]*)\}", r" \1 "),
    (r"\\text\{\s*([-+]?[\d.,/]*\d)\s*\}", r"\1"),
    (r"(?<![\d}\])a-zA-Z ])\\text\{([a-zA-Z])\}", r"\1"),
    (r"([_^])(\\frac\{[^{}]*\}\{[^{}]*\})", r"\1{\2}"),
    (r"(?<![\\a-zA-Z^_}\])])\{(\d[\d.,]*|[a-zA-Z]+)\}", r"\1"),
    (r"\s+", " "),
    SET_BUILDER,
]
EDGES = [
    (r"(?<!\w) | (?!\w)", ""),
    (r"^(\*\*|__|\*|_|`)(?=[^*_`])(.+)(?<=[^*_`])\1$", r"\2"),
    (r"^(?:=|\\approx )|[.,;\\]+$", ""),
    (rf"^{TEXT}$", r"\1"),
    (r"(?<!\w) | (?!\w)|\.$", ""),
]
BRACKET = re.compile(r"(\\[{}]|[()\[\]])")
DEPTH = {r"\{": 1, "(": 1, "[": 1, r"\}": -1, ")": -1, "]": -1}
THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:(?:,\d{3})+(?!,?\d)|(?: \d{3})+(?![\d ,]*[\d/\\]))")


def canonical(text: str) -> str:
    r"""The text of an answer in canonical layout.

    Examples:
        >>> canonical(r"\textcolor{red}{\dfrac12}")
        '\\frac{1}{2}'
        >>> canonical("x⁴ ≤ 1,234")
        'x^{4}\\le 1234'
    """
    if not len(re.findall(r"(?<!\\)\$", text)) % 2:
        text = re.sub(r"(?<!\\)\$", "", text)  # math delimiters, not currency
    text = _substitute(text if text.isascii() else _latex_of_unicode(text), LAYOUT)
    depth, parts = 0, BRACKET.split(text)
    for index, part in enumerate(parts):
        depth += DEPTH.get(part, 0)
        if not depth:
            parts[index] = THOUSANDS.sub(lambda match: re.sub("[, ]", "", match[0]), part)
    if depth == 1 and parts[1] == r"\{":
        parts.append(r"\}")  # closed by \right.
    text = _substitute(without_braces("".join(parts).strip()), EDGES)
    return without_braces(text)


def without_braces(text: str) -> str:
    """The text without braces around all of it."""
    while text.startswith("{") and text.endswith("}"):
        depth = 0
        for index, character in enumerate(text):
            if text[index - 1 : index] != "\\":
                depth += {"{": 1, "}": -1}.get(character, 0)
            if not depth:
                break
        if index < len(text) - 1:
            break
        text = text[1:-1].strip()
    return text


def _substitute(text: str, rules: list[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        text = re.sub(pattern, replacement, text)
    return text


def _latex_of_unicode(text: str) -> str:
    """LaTeX for mathematical symbols, and ASCII for digits and letters in other styles."""
    text = DOT_ABOVE.sub(r"\\dot{\1}", text.replace("º", "°"))
    text = LINE_ABOVE.sub(lambda match: rf"\overline{{{re.sub('[^0-9]', '', match[0])}}}", text)
    text = SET_FRACTION.sub(
        lambda match: rf"\frac{{{_plain(match[1])}}}{{{_plain(match[2])}}}", text
    )
    text = RAISED.sub(lambda match: f"^{{{_plain(match[0])}}}", text)
    text = LOWERED.sub(lambda match: f"_{{{_plain(match[0])}}}", text)
    text = VULGAR.sub(_fraction, text).translate(UNICODE)
    text = unicodedata.normalize("NFKC", text).translate(UNICODE)
    text = GREEK.sub(_greek, text)
    return "".join(
        str(unicodedata.decimal(character, character))
        for character in text
        if unicodedata.category(character) != "Cf"
    )


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).translate(UNICODE)


def _fraction(match: re.Match[str]) -> str:
    numerator, _, denominator = unicodedata.normalize("NFKC", match[0]).partition("⁄")  # noqa: RUF001
    return rf"\frac{{{numerator}}}{{{denominator}}}"


def _greek(match: re.Match[str]) -> str:
    size, _, name = unicodedata.name(match[0]).removeprefix("GREEK ").partition(" LETTER ")
    name = name.lower().replace("lamda", "lambda").split()[-1]
    return rf"\{name.capitalize() if size == 'CAPITAL' else name} "
