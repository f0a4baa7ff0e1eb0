"""Verifier `math_answer`: the final answer equals the reference as mathematics."""

from __future__ import annotations

import math

from concord.rewards.verifiers import equivalence
from concord.rewards.verifiers.final_answer import final_answer


def verify(response: str, reference: str | None) -> float:
    r"""1 if the final answer equals `reference` as mathematics, by the rules of concord/rewards/verifiers/equivalence.py.

    \dfrac{3}{4} is 0.75. The answer must be marked by \boxed or ####; `reference` may be a solution that ends in one.
    """
    if reference is None:
        return math.nan
    answer = final_answer(response)
    return float(
        answer is not None and equivalence.equal(final_answer(reference) or reference, answer)
    )
