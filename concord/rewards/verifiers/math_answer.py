"""Verifier `math_answer`: the final answer is mathematically equal to the reference."""

from __future__ import annotations

import math

from concord.rewards.verifiers import equivalence
from concord.rewards.verifiers.final_answer import final_answer


def verify(response: str, reference: str | None) -> float:
    r"""1 if the final answer is mathematically equal to `reference`, else 0.

    `concord.rewards.verifiers.equivalence` defines the rules. The answer must be marked by \boxed
    or ####. `reference` is an answer, or a solution with a marked answer.

    Examples:
        >>> verify(r"It is \boxed{\dfrac{3}{4}}", "0.75")
        1.0
        >>> verify("It is 0.75", "0.75")
        0.0
    """
    if reference is None:
        return math.nan
    answer = final_answer(response)
    return float(
        answer is not None and equivalence.equal(final_answer(reference) or reference, answer)
    )
