"""Votes of the answers to one problem: answers that the verifier reads as equal vote together."""

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
    r"""The vote of each response to one problem, named as its first occurrence; None without an
    answer.

    With math_answer, 0.75 and \frac{3}{4} are one vote; a rounded number joins the first answer
    that it equals. With multiple_choice, "The answer is B." and \boxed{B} are one vote.

    Examples:
        >>> ballots("multiple_choice", ["The answer is B.", r"\boxed{B}", "I give up"])
        ['B', 'B', None]
    """
    read = READERS.get(verifier, final_answer)
    same = equivalence.equal if verifier == "math_answer" else operator.eq
    distinct: list[str] = []
    votes: list[str | None] = []
    for answer in map(read, responses):
        vote = next((known for known in distinct if same(known, answer)), None) if answer else None
        if answer and vote is None:
            distinct.append(vote := answer)
        votes.append(vote)
    return votes


def finals(answers: pd.DataFrame, verifier: str) -> pd.DataFrame:
    """Adds the column `final`: the vote of each `response` among those to its problem, or None."""
    votes = np.full(len(answers), None, dtype=object)
    for rows in answers.groupby("problem", sort=False).indices.values():
        votes[rows] = ballots(verifier, answers["response"].iloc[rows].tolist())
    return answers.assign(final=votes)


def _letter(response: str) -> str | None:
    return next((letter for letter in LETTERS if multiple_choice.verify(response, letter)), None)


def _words(response: str) -> str:
    """The marked answer, otherwise the whole response, normalised as in exact_match."""
    marked = final_answer(response)
    return " ".join((response if marked is None else marked).casefold().split())


READERS: dict[str, Callable[[str], str | None]] = {
    "multiple_choice": _letter,
    "exact_match": _words,
    "regular_expression": _words,
}
"""Verifier -> reader; all other verifiers read the marked final answer."""
