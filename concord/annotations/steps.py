"""Cutting a response into the steps that process rewards judge; the steps joined are the response again.

Sentence ends are found by the rules below: of pysbd, sentencex, blingfire, syntok and nupunkt none keeps fenced code
whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable

BLANK_LINE = re.compile(r"\n\n+")
SENTENCE_END = re.compile(
    r"(?<![.!?…])(?P<mark>[.!?…]+)(?P<closing>[\"'\u201d\u2019»)\]*_]*)(?=\s|$)"
)
CODE = re.compile(
    r"^[ \t]*(?P<fence>`{3,}|~{3,}).*?(?:^[ \t]*(?P=fence)[`~]*[ \t]*$|\Z)|(?P<ticks>`+)[^\n]+?(?P=ticks)",
    re.MULTILINE | re.DOTALL,
)
"""Fenced blocks, the last of which may be open, and code within a line."""
LIST_MARKER = re.compile(r"[\s>#*+(-]*(?:\d{1,2}|[A-Za-z]|[ivx]{2,4})")
NEXT_LETTER = re.compile(r"\s*[\"'\u201c\u2018«(\[*_]*(\w)")
LAST_WORD = re.compile(r"[^\s\"'\u201c\u2018«(\[*_]+$")
INITIAL = re.compile(r"(?:^|\s)[A-Z]\S*\s[A-HJ-Z]$")
"""A capital letter after a word with one: George W. Bush; but not I."""
DOTTED = re.compile(r"(?:[^\W\d_]{1,2}\.)+[^\W\d_]{1,2}")
BEFORE_NAMES = re.compile(
    r"Mr|Mrs|Ms|Dr|Prof|St|Mt|Gen|Sen|Rep|Gov|Pres|Capt|Sgt|Lt|Col|Rev|Hon|vs|cf|viz|e\.?g|i\.?e"
)
"""Abbreviations that never end a sentence."""
WITHIN = re.compile(
    r"etc|al|Inc|Ltd|Co|Corp|Jr|Sr|Dept|Univ|approx|ca|No|Nos|Figs?|Eqs?|Vol|Ch|Sec|Art|pp?"
    r"|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec"
)
"""Abbreviations after which a small letter or a number goes on with the sentence."""
BEFORE = 40
"""Characters before a full stop that are looked at: more than a list marker or an abbreviation has."""


def split(text: str, domain: str) -> list[str]:
    """The steps of a response: math at blank lines, tutoring the whole turn, everything else at sentence ends.

    A blank line ends its step; the space between sentences opens the next one: tokenizers write a word with the space
    before it, so the tokens of the steps are those of the response. White space alone is no step of its own, and code
    is never cut.
    """
    return SPLITTERS.get(domain, _sentences)(text)


def _blank_lines(text: str) -> list[str]:
    return _cut(text, [match.end() for match in BLANK_LINE.finditer(_masked(text))])


def _sentences(text: str) -> list[str]:
    masked, ends = _masked(text), [0]
    for match in SENTENCE_END.finditer(masked):
        if not _goes_on(masked, ends[-1], match):
            ends.append(match.end())
    return _cut(text, ends)


def _whole(text: str) -> list[str]:
    return [text] if text else []


def _masked(text: str) -> str:
    """The text with a letter for each character of code."""
    return CODE.sub(lambda match: "Q" * len(match[0]), text)


def _goes_on(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether the sentence from `start` goes on after what looks like its end."""
    following = NEXT_LETTER.match(text, match.end())
    letter = following[1] if following else ""
    if match["mark"] != ".":
        return letter.islower() and bool(
            match["closing"] or "…" in match["mark"] or ".." in match["mark"]
        )
    line = text[max(start, match.start() - BEFORE) : match.start()].rpartition("\n")[2]
    return _abbreviates(line, letter) or (letter.islower() and bool(match["closing"]))


def _abbreviates(line: str, letter: str) -> bool:
    """Whether a full stop after `line`, and before `letter`, belongs to a list marker or an abbreviation."""
    found = LAST_WORD.search(line)
    word = found[0] if found else ""
    if (
        LIST_MARKER.fullmatch(line)
        or BEFORE_NAMES.fullmatch(word)
        or (letter.isupper() and INITIAL.search(line))
    ):
        return True
    return (letter.islower() or letter.isdigit()) and bool(
        WITHIN.fullmatch(word) or DOTTED.fullmatch(word)
    )


def _cut(text: str, ends: list[int]) -> list[str]:
    """`text` cut at these places; a piece of white space goes with its neighbour."""
    ends = [end for end in ends if text[:end].strip() and text[end:].strip()]
    return [
        text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True) if text
    ]


SPLITTERS: dict[str, Callable[[str], list[str]]] = {"math": _blank_lines, "tutoring": _whole}
