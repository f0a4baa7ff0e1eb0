"""Verifier `regular_expression`: the reference is a pattern that matches the whole final answer."""

from __future__ import annotations

import math

import regex

from concord.rewards.verifiers.final_answer import marked_or_all
from concord.stage.errors import DataError

CPU_SECONDS = 0.2
"""How long a regular expression may take over one answer; past that it does not match."""


def verify(response: str, reference: str | None) -> float:
    """1 if the pattern `reference` matches the whole of the final answer, which is what is marked, else the response.

    Raises DataError for what is no pattern (of the package regex, which takes those of Python's re).
    """
    if reference is None:
        return math.nan
    try:
        return float(
            regex.fullmatch(reference, marked_or_all(response), timeout=CPU_SECONDS) is not None
        )
    except TimeoutError:
        return 0.0
    except regex.error as error:
        raise DataError(
            f"the reference {reference!r} is no regular expression ({error}), so no answer can match it; correct it"
        ) from None
