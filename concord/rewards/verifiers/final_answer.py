r"""Extracts the final answer of a response.

It is marked by `<answer>...</answer>`, by `\boxed{...}` (or `\boxed 5`), or, as in GSM8K, by ####.
"""

from __future__ import annotations

import re

BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])\s*")
TAG = re.compile(r"<answer>|</answer>", re.IGNORECASE)
AFTER_HASHES = re.compile(r"####\s*(.+)")
BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_PIECE = r"(?:\\[a-zA-Z]+\s?|\{[^{}]*\}|[^\s$\\{}])+"
WITHOUT_BRACES = re.compile(rf"{_PIECE}(?:(?:(?<=,)\s*|\s+(?:or|and)\s+)(?=[-+\d\\]){_PIECE})*")
"""What a box without braces contains: the rest of a word or formula, and others joined to it."""
CLOSING_PUNCTUATION = ".,;:!?*)]"
_SPACE = r"(?:[\s$~]|\\q?quad(?![a-zA-Z])|\\[,;:! ])*"
BETWEEN = re.compile(
    rf"{_SPACE}(?:(?:,|;|\band\b|\bor\b|\\text\{{\s*(?:and|or)\s*\}}){_SPACE})+"
    r"(?:[a-zA-Z](?:_\w|_\{\w+\})?\s*=\s*)?"
)
"""What joins two boxes into one answer."""


def final_answer(text: str) -> str | None:
    r"""The last marked answer, or None.

    A tag `<answer>` comes before a box, and a box before ####. Boxes with only a comma, "and" or
    "or" between them are one answer, a list. None if the last tag or box is not closed, because the
    response was cut off.

    Examples:
        >>> final_answer(r"so it is \boxed{\frac{1}{2}}.")
        '\\frac{1}{2}'
        >>> final_answer(r"\boxed{2} or \boxed{3}")
        '2, 3'
        >>> final_answer("16 - 3 = 13\n#### 13")
        '13'
        >>> final_answer("It is 13.") is None
        True
    """
    tags = list(TAG.finditer(text))
    is_closed = [tag[0].startswith("</") for tag in tags[-2:]] == [False, True]
    if is_closed:
        text = text[tags[-2].end() : tags[-1].start()]
    boxes = list(BOX.finditer(text))
    if boxes:
        return _in_boxes(text, boxes)
    if tags:
        return text.strip() if is_closed else None
    answers = AFTER_HASHES.findall(text)
    return answers[-1] if answers else None


def final_answer_or_text(text: str) -> str:
    """The final answer, or the whole text if no answer is marked, stripped of white space."""
    marked = final_answer(text)
    return (text if marked is None else marked).strip()


def _in_boxes(text: str, boxes: list[re.Match[str]]) -> str | None:
    """The content of the last box, and of those before it that are joined to it."""
    answers: list[str] = []
    after = len(text)
    for box in reversed(boxes):
        content = _content(text, box.end())
        if content is None:
            return ", ".join(answers) or None
        answer, end = content
        if answers and not BETWEEN.fullmatch(text, end, after):
            break
        if answer not in answers:
            answers.insert(0, answer)
        after = box.start()
    return ", ".join(answers)


def _content(text: str, start: int) -> tuple[str, int] | None:
    """The content of a box that starts at `start`, and its end; None if it is not closed."""
    if text[start : start + 1] != "{":
        match = WITHOUT_BRACES.match(text, start)
        return (match[0].strip().rstrip(CLOSING_PUNCTUATION), match.end()) if match else None
    depth = 0
    for brace in BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace[0], 0)
        if not depth:
            return text[start + 1 : brace.start()], brace.end()
    return None
