"""Verifier `exact_match`: the final answer is the reference, but for case and white space."""

from __future__ import annotations

import math

from concord.rewards.verifiers.final_answer import marked_or_all


def verify(response: str, reference: str | None) -> float:
    """1 if the final answer is `reference`, letter by letter but for case and for how much white space stands where.

    The final answer is what is marked as such, else the whole response.
    """
    if reference is None:
        return math.nan
    answer, wanted = marked_or_all(response), marked_or_all(reference)
    return float(answer.casefold().split() == wanted.casefold().split())
