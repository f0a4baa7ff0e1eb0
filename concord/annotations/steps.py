"""Splits a response into the steps that process rewards judge. The joined steps are the response.

Sentence ends are found by the rules below. None of pysbd, sentencex, blingfire, syntok and nupunkt
keeps fenced code in one piece.
"""

from __future__ import annotations

import re
from collections.abc import Callable

BLANK_LINE = re.compile(r"\n\n+")
SENTENCE_END = re.compile(
    r"(?<![.!?…])(?P<mark>[.!?…]+)(?P<closing>[\"'\u201d\u2019»)\]*_]*)(?=\s|$)"
)
CODE = re.compile(
    r"^[ \t]*(?P<fence>`{3,}|~{3,}).*?(?:^[ \t]*(?P=fence)[`~]*[ \t]*$|\Z)"
    r"|(?P<ticks>`+)[^\n]+?(?P=ticks)",
    re.MULTILINE | re.DOTALL,
)
"""Fenced code blocks (the last one may be unclosed) and inline code."""
LIST_MARKER = re.compile(r"[\s>#*+(-]*(?:\d{1,2}|[A-Za-z]|[ivx]{2,4})")
NEXT_LETTER = re.compile(r"\s*[\"'\u201c\u2018«(\[*_]*(\w)")
LAST_WORD = re.compile(r"[^\s\"'\u201c\u2018«(\[*_]+$")
INITIAL = re.compile(r"(?:^|\s)[A-Z]\S*\s[A-HJ-Z]$")
"""An initial after a capitalized word, as in "George W. Bush", but not the word I."""
DOTTED = re.compile(r"(?:[^\W\d_]{1,2}\.)+[^\W\d_]{1,2}")
BEFORE_NAMES = re.compile(
    r"Mr|Mrs|Ms|Dr|Prof|St|Mt|Gen|Sen|Rep|Gov|Pres|Capt|Sgt|Lt|Col|Rev|Hon|vs|cf|viz|e\.?g|i\.?e"
)
"""Abbreviations that never end a sentence."""
INSIDE_SENTENCES = re.compile(
    r"etc|al|Inc|Ltd|Co|Corp|Jr|Sr|Dept|Univ|approx|ca|No|Nos|Figs?|Eqs?|Vol|Ch|Sec|Art|pp?"
    r"|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec"
)
"""Abbreviations that do not end a sentence if a lower-case letter or a digit follows."""
CONTEXT = 40
"""Characters before a full stop that are checked; list markers and abbreviations are shorter."""


def split(text: str, domain: str) -> list[str]:
    r"""Splits a response into steps.

    The domain `math` is split at blank lines, `tutoring` is one step, and all other domains are
    split at the ends of sentences. A blank line belongs to the step that it ends. The space between
    two sentences belongs to the second one: tokenizers encode a word with the space before it, so
    the tokens of the steps are those of the response. White space alone is not a step, and code is
    never split.

    Examples:
        >>> split("Dr. Smith came. He left.", "values")
        ['Dr. Smith came.', ' He left.']
        >>> split("2 + 2 = 4\n\nSo 4.", "math")
        ['2 + 2 = 4\n\n', 'So 4.']
    """
    return SPLITTERS.get(domain, _sentences)(text)


def _blank_lines(text: str) -> list[str]:
    return _split_at(text, [match.end() for match in BLANK_LINE.finditer(_masked(text))])


def _sentences(text: str) -> list[str]:
    masked, ends = _masked(text), [0]
    for match in SENTENCE_END.finditer(masked):
        if not _continues(masked, ends[-1], match):
            ends.append(match.end())
    return _split_at(text, ends)


def _whole(text: str) -> list[str]:
    return [text] if text else []


def _masked(text: str) -> str:
    """The text with each character of code replaced by a letter."""
    return CODE.sub(lambda match: "Q" * len(match[0]), text)


def _continues(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether the sentence from `start` continues after an apparent end."""
    following = NEXT_LETTER.match(text, match.end())
    letter = following[1] if following else ""
    if match["mark"] != ".":
        return letter.islower() and bool(
            match["closing"] or "…" in match["mark"] or ".." in match["mark"]
        )
    line = text[max(start, match.start() - CONTEXT) : match.start()].rpartition("\n")[2]
    return _is_abbreviation(line, letter) or (letter.islower() and bool(match["closing"]))


def _is_abbreviation(line: str, letter: str) -> bool:
    """Whether a full stop between `line` and `letter` follows a list marker or an abbreviation."""
    last = LAST_WORD.search(line)
    word = last[0] if last else ""
    if (
        LIST_MARKER.fullmatch(line)
        or BEFORE_NAMES.fullmatch(word)
        or (letter.isupper() and INITIAL.search(line))
    ):
        return True
    return (letter.islower() or letter.isdigit()) and bool(
        INSIDE_SENTENCES.fullmatch(word) or DOTTED.fullmatch(word)
    )


def _split_at(text: str, ends: list[int]) -> list[str]:
    """Splits `text` at the positions `ends`, without pieces of white space alone."""
    ends = [end for end in ends if text[:end].strip() and text[end:].strip()]
    return [
        text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True) if text
    ]


SPLITTERS: dict[str, Callable[[str], list[str]]] = {"math": _blank_lines, "tutoring": _whole}
