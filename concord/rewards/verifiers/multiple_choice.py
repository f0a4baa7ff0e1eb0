"""Verifier `multiple_choice`: the response chooses the letter of the reference."""

from __future__ import annotations

import math
import re

from concord.rewards.verifiers.final_answer import final_answer, marked_or_all
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
    r"""1 if the response chooses the letter of `reference`, A to J; 0 if another one, none, or more than one.

    Taken are, in this order: \boxed{B}, \boxed{\text{(B)}} or ####, of which the last counts; "The answer is B.";
    a response that starts with "B", "(B)" or "B) text"; the only letter in brackets. Raises DataError where
    `reference` is no such letter.
    """
    if reference is None:
        return math.nan
    wanted = _leading(marked_or_all(reference))
    if len(wanted) != 1:
        raise DataError(
            f"the reference {reference!r} is not one letter from A to J, so no choice can be compared with it; "
            "give the letter, or take exact_match"
        )
    return float(_chosen(response) == wanted)


def _chosen(response: str) -> set[str]:
    """The letters that a response chooses: one, none, or several where it is ambiguous."""
    marked = final_answer(response)
    if marked is not None:
        return _leading(marked)
    text = MARKUP.sub(" ", response)
    stated = "".join(STATED.findall(text))
    return (
        set(re.findall("[A-J]", stated))
        or _leading(text)
        or {found[1] for found in BRACKETED.findall(text)}
    )


def _leading(text: str) -> set[str]:
    """The letters that `text` starts with, or consists of, which then may be small."""
    text = MARKUP.sub(" ", text).strip()
    alone = re.fullmatch(r"\W*([A-Ja-j])\W*", text)
    found = LEADING.match(text)
    return {alone[1].upper()} if alone else set(re.findall("[A-J]", found[1])) if found else set()
