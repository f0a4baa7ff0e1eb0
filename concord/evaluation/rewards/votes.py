"""What answers to one problem vote for: those that the verifier reads as the same vote together."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from concord.rewards.verifiers import equivalence, multiple_choice
from concord.rewards.verifiers.final_answer import final_answer

if TYPE_CHECKING:
    import pandas as pd

LETTERS = "ABCDEFGHIJ"


def ballots(verifier: str, responses: Sequence[str]) -> list[str | None]:
    r"""What each response to one problem votes for, named as the first that says so; None where no answer is read.

    With math_answer 0.75 and \frac{3}{4} are one vote (what is rounded joins the first that it equals), with
    multiple_choice "The answer is B." and \boxed{B}.
    """
    read = READERS.get(verifier, final_answer)
    same = equivalence.equal if verifier == "math_answer" else operator.eq
    found: list[str] = []
    votes: list[str | None] = []
    for answer in map(read, responses):
        vote = next((known for known in found if same(known, answer)), None) if answer else None
        if answer and vote is None:
            found.append(vote := answer)
        votes.append(vote)
    return votes


def finals(answers: pd.DataFrame, verifier: str) -> pd.DataFrame:
    """With the column `final`: what each `response` votes for among those to its problem, None where none is read."""
    found = np.full(len(answers), None, dtype=object)
    for rows in answers.groupby("problem", sort=False).indices.values():
        found[rows] = ballots(verifier, answers["response"].iloc[rows].tolist())
    return answers.assign(final=found)


def _letter(response: str) -> str | None:
    return next((letter for letter in LETTERS if multiple_choice.verify(response, letter)), None)


def _words(response: str) -> str:
    """What is marked as the answer, else the whole response, as exact_match compares it."""
    marked = final_answer(response)
    return " ".join((response if marked is None else marked).casefold().split())


READERS: dict[str, Callable[[str], str | None]] = {
    "multiple_choice": _letter,
    "exact_match": _words,
    "regular_expression": _words,
}
"""Of the verifiers that read an answer otherwise than by what is marked as the final one."""
