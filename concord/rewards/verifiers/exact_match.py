"""Verifier `exact_match`: the final answer equals the reference except for case and white space."""

from __future__ import annotations

import math

from concord.rewards.verifiers.final_answer import final_answer_or_text


def verify(response: str, reference: str | None) -> float:
    r"""1 if the final answer equals `reference`, else 0. Case and white space are ignored.

    The final answer is the marked answer, or the whole response without a mark. White space between
    words still separates them.

    Examples:
        >>> verify(r"It is \boxed{New  York}", "new york")
        1.0
        >>> verify("NewYork", "New York")
        0.0
    """
    if reference is None:
        return math.nan
    answer, expected = final_answer_or_text(response), final_answer_or_text(reference)
    return float(answer.casefold().split() == expected.casefold().split())
