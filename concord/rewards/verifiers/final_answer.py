r"""Extracts the final answer of a response, marked by \boxed{...} or, as in GSM8K, by ####."""

from __future__ import annotations

import re

BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
AFTER_HASHES = re.compile(r"####\s*(.+)")


def final_answer(text: str) -> str | None:
    r"""The content of the last `\boxed{...}`, else the text after the last `####`, else None.

    Also None if the last box is not closed, because the response was cut off.

    Examples:
        >>> final_answer(r"so it is \boxed{\frac{1}{2}}.")
        '\\frac{1}{2}'
        >>> final_answer("16 - 3 = 13\n#### 13")
        '13'
        >>> final_answer("It is 13.") is None
        True
    """
    boxes = list(BOX.finditer(text))
    if boxes:
        return _up_to_closing_brace(text, boxes[-1].end())
    answers = AFTER_HASHES.findall(text)
    return answers[-1] if answers else None


def _up_to_closing_brace(text: str, start: int) -> str | None:
    """The text from `start` up to the closing brace; None if there is no closing brace."""
    depth = 1
    for index in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if not depth:
            return text[start:index]
    return None


def final_answer_or_text(text: str) -> str:
    """The final answer, or the whole text if no answer is marked, stripped of white space."""
    marked = final_answer(text)
    return (text if marked is None else marked).strip()
