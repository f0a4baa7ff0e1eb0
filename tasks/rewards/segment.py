"""Cutting a response into the steps that process rewards judge; the steps joined are the response again."""

from __future__ import annotations

import re
from collections.abc import Callable

BLANK_LINE = re.compile(r"\n\n+")
SENTENCE_END = re.compile(r"[.!?]+[\"')\]]*(?=\s|$)")


def split(text: str, domain: str) -> list[str]:
    """The steps of a response: math at blank lines, tutoring the whole turn, everything else at sentence ends.

    A blank line ends its step; the space between sentences opens the next one: tokenizers write a word with the space
    before it, so the tokens of the steps are those of the response. White space alone is no step of its own.
    """
    return SPLITTERS.get(domain, _sentences)(text)


def _blank_lines(text: str) -> list[str]:
    return _after(BLANK_LINE, text)


def _sentences(text: str) -> list[str]:
    return _after(SENTENCE_END, text)


def _whole(text: str) -> list[str]:
    return [text] if text else []


def _after(boundary: re.Pattern[str], text: str) -> list[str]:
    """`text` cut after each match; a piece of white space goes with its neighbour."""
    ends = [match.end() for match in boundary.finditer(text) if text[: match.end()].strip()]
    ends = [end for end in ends if text[end:].strip()]
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True) if text]


SPLITTERS: dict[str, Callable[[str], list[str]]] = {"math": _blank_lines, "tutoring": _whole}
