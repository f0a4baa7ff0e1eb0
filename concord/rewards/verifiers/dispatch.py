r"""Verifiers: whether the answer of a response is right, without a model. Nothing in a response is executed or eval-ed.

Each is a function `(response, reference) -> score`: 1 for right, 0 for wrong, NaN where there is no reference (None).
params.yaml names one, `verifier: math_answer`, or one of your own as module:function, `verifier: my_checks:is_even`:

    def is_even(response: str, reference: str | None) -> float:     # my_checks.py in the project's root
        return float(response.strip()[-1:] in tuple("02468"))

Its score may be any number in [0, 1]; no limit of time or memory holds for it. dvc.yaml cannot know its file, so edits
of it rerun nothing. When what a verifier does changes, give it another name (`my_checks:is_even_2`): the name is a
parameter of every stage that scores with it. Or run those again by `dvc repro --force`.
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Sequence
from numbers import Real

import numpy as np

from concord.stage import plugins
from concord.stage.errors import ConcordError, DataError, ParamsError
from concord.stage.params import suggest

Verifier = Callable[[str, str | None], float]


def score_all(name: str, responses: Sequence[str], references: Sequence[str | None]) -> np.ndarray:
    """float32 `[n]` by the verifier called `name`: in [0, 1], or NaN where there is no reference.

    Raises ParamsError for a name that is not one, DataError where the verifier raises or returns anything else.
    """
    verifier = find(name)
    pairs = zip(responses, references, strict=True)
    return np.array(
        [_score(name, verifier, response, reference) for response, reference in pairs],
        dtype=np.float32,
    )


def find(name: str) -> Verifier:
    """The verifier called `name`, one of this file or module:function. Raises ParamsError where there is none."""
    module, colon, function = name.partition(":")
    known = plugins.names("concord.rewards.verifiers")
    if not colon and name not in known:
        raise ParamsError(
            f"{name!r} is not a verifier, so nothing can check the answers; {suggest(name, known)}, "
            "or a custom one as module:function"
        )
    if not colon:
        verifier: Verifier = plugins.load("concord.rewards.verifiers", name).verify
        return verifier
    found = _imported(name, module, function)
    try:
        inspect.signature(found).bind("response", None)
    except (TypeError, ValueError):
        raise ParamsError(
            f"{name!r} cannot be called with a response and a reference, so it can check nothing; "
            f"define it as {function}(response: str, reference: str | None) -> float"
        ) from None
    return found


def _imported(name: str, module: str, function: str) -> Verifier:
    try:
        loaded = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise ParamsError(
            f"{name!r}: importing {module or 'it'} fails ({type(error).__name__}: {error}), so nothing can check the "
            "answers; put the module into the project's root, and see that it can be imported there"
        ) from error
    found: Verifier | None = getattr(loaded, function, None)
    if not callable(found):
        own = [key for key, value in vars(loaded).items() if inspect.isfunction(value)]
        raise ParamsError(
            f"{name!r}: {module} has no function {function!r}, so nothing can check the answers; "
            f"{suggest(function, own)}"
        )
    return found


def _score(name: str, verifier: Verifier, response: str, reference: str | None) -> float:
    pair = f"the response {response[:200]!r} with the reference {reference!r}"
    try:
        score = verifier(response, reference)
    except ConcordError:
        raise
    except Exception as error:
        raise DataError(
            f"the verifier {name} raised {type(error).__name__} ({error}) on {pair}, so it has no score; mend it"
        ) from error
    number = float(score) if isinstance(score, Real | np.bool_) else None
    if number is None or not (0 <= number <= 1 or (math.isnan(number) and reference is None)):
        raise DataError(
            f"the verifier {name} returned {score!r} for {pair}, which is no score; "
            "return a number from 0 to 1, NaN only where the reference is None"
        )
    return number
