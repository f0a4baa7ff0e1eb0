"""Verifier `regular_expression`: the final answer matches the pattern in the reference."""

from __future__ import annotations

import math

import regex

from concord.rewards.verifiers.final_answer import final_answer_or_text
from concord.stage.errors import DataError

CPU_SECONDS = 0.2
"""Time limit of a match; after it, the answer counts as not matching."""


def verify(response: str, reference: str | None) -> float:
    r"""1 if the pattern `reference` matches the whole final answer, else 0.

    The final answer is the marked answer, or the whole response without a mark.

    Raises:
        DataError: `reference` is not a valid pattern of the package regex, which also accepts the
            patterns of Python's re.

    Examples:
        >>> verify(r"The year is \boxed{1984}", r"19\d\d")
        1.0
    """
    if reference is None:
        return math.nan
    try:
        return float(
            regex.fullmatch(reference, final_answer_or_text(response), timeout=CPU_SECONDS)
            is not None
        )
    except TimeoutError:
        return 0.0
    except regex.error as error:
        raise DataError(
            f"the reference {reference!r} is not a valid regular expression ({error}); "
            "correct the reference"
        ) from None
