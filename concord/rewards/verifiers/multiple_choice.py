"""Verifier `multiple_choice`: the response chooses the same letter as the reference."""

from __future__ import annotations

import math
import re

from concord.rewards.verifiers.final_answer import final_answer, final_answer_or_text
from concord.stage.errors import DataError

MARKUP = re.compile(r"(?:\\(?:text|math)(?:bf|rm|it)?(?=\s*\{)|[\\{}$*_\s])+")
LETTER = r"[(\[]?\b[A-J]\b[)\]]?"
LETTERS = (
    rf"{LETTER}(?: ?(?:/|&|or|and) ?{LETTER}| ?, ?{LETTER}(?! [a-z]))*"  # not the I of "B, I think"
)
LEADING = re.compile(rf"({LETTERS})(?:$|[.:].*|(?<=[)\]]).*)")
STATED = re.compile(
    rf"(?i:\b(?:answer|correct (?:option|choice))(?: is)? ?:? ?(?:option |choice )?)({LETTERS})"
)
BRACKETED = re.compile(r"[(\[][A-J][)\]]")


def verify(response: str, reference: str | None) -> float:
    r"""1 if the response chooses the letter of `reference` (A to J), else 0.

    A response that chooses several letters, or none, is wrong. The choice is read from the first of
    these that the response contains:

    1. the last marked answer, such as \boxed{B}, \boxed{\text{(B)}} or #### B;
    2. a statement such as "The answer is B.";
    3. the start of the response, such as "B", "(B)" or "B) text";
    4. letters in brackets.

    Raises:
        DataError: `reference` is not a single letter from A to J.

    Examples:
        >>> verify("A is in Spain. The answer is **B**.", "B")
        1.0
        >>> verify("Either (A) or (B)", "B")
        0.0
    """
    if reference is None:
        return math.nan
    expected = _leading_letters(final_answer_or_text(reference))
    if len(expected) != 1:
        raise DataError(
            f"the reference {reference!r} is not a single letter from A to J; "
            "give the letter or use the verifier exact_match"
        )
    return float(_chosen_letters(response) == expected)


def _chosen_letters(response: str) -> set[str]:
    """The letters that a response chooses; several if it is ambiguous."""
    marked = final_answer(response)
    if marked is not None:
        return _leading_letters(marked)
    text = MARKUP.sub(" ", response)
    stated = "".join(STATED.findall(text))
    return (
        set(re.findall("[A-J]", stated))
        or _leading_letters(text)
        or {bracketed[1] for bracketed in BRACKETED.findall(text)}
    )


def _leading_letters(text: str) -> set[str]:
    """The letters that `text` starts with. A letter on its own may be lower-case."""
    text = MARKUP.sub(" ", text).strip()
    single = re.fullmatch(r"\W*([A-Ja-j])\W*", text)
    if single:
        return {single[1].upper()}
    leading = LEADING.match(text)
    return set(re.findall("[A-J]", leading[1])) if leading else set()
