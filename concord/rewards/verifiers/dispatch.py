"""Finds verifiers by name and scores responses with them.

A verifier is a function `(response, reference) -> score` that checks an answer without a model. The
score is 1 for a correct answer, 0 for a wrong one, and NaN if there is no reference (None).
Built-in verifiers never execute or eval text from a response.

params.yaml names a built-in verifier, `verifier: math_answer`, or a custom one as module:function,
`verifier: my_checks:is_even`:

    # my_checks.py in the root of the project
    def is_even(response: str, reference: str | None) -> float:
        return float(response.strip()[-1:] in tuple("02468"))

A custom verifier may return any number in [0, 1]. Its time and memory are not limited. An edit of
its file reruns the stages that score with it. The code of an installed package is not tracked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from numbers import Real

import numpy as np

from concord.stage import plugins, user_function
from concord.stage.errors import DataError, ParamsError
from concord.stage.params import suggest

Verifier = Callable[[str, str | None], float]
ROLE = user_function.Role(
    "verifier",
    ("response", None),
    "a response and a reference",
    "(response: str, reference: str | None) -> float",
)


def score_all(name: str, responses: Sequence[str], references: Sequence[str | None]) -> np.ndarray:
    """The scores of responses by the verifier `name`, float32 `(responses,)`.

    A score is in [0, 1], or NaN if the response has no reference.

    Raises:
        ParamsError: there is no verifier `name`.
        DataError: a custom verifier raises an exception, or a verifier returns an invalid score.

    Examples:
        >>> score_all("exact_match", ["Paris", "Rome"], ["paris", "Paris"]).tolist()
        [1.0, 0.0]
    """
    verifier = find(name)
    pairs = zip(responses, references, strict=True)
    return np.array(
        [_score(name, verifier, response, reference) for response, reference in pairs],
        dtype=np.float32,
    )


def find(name: str) -> Verifier:
    """The verifier `name`: a module of `concord.rewards.verifiers`, or module:function.

    Raises ParamsError if it does not exist or cannot be called with a response and a reference.
    """
    return user_function.find(name, ROLE) if ":" in name else _built_in(name)


@cache
def _built_in(name: str) -> Verifier:
    known = plugins.names("concord.rewards.verifiers")
    if name not in known:
        raise ParamsError(
            f"{name!r} is not a verifier; {suggest(name, known)}, "
            "or a custom one as module:function"
        )
    verifier: Verifier = plugins.load("concord.rewards.verifiers", name, "verifier").verify
    return verifier


def _score(name: str, verifier: Verifier, response: str, reference: str | None) -> float:
    pair = f"the response {response[:200]!r} with the reference {reference!r}"
    if ":" in name:
        score = user_function.call(verifier, name, ROLE, pair, response, reference)
    else:  # an error of a built-in verifier is a bug, so it keeps its traceback
        score = verifier(response, reference)
    number = float(score) if isinstance(score, Real | np.bool_) else None
    if number is None or not (0 <= number <= 1 or (math.isnan(number) and reference is None)):
        raise DataError(
            f"the verifier {name} returned {score!r} for {pair}, which is not a valid score; "
            "return a number from 0 to 1, or NaN if the reference is None"
        )
    return number
