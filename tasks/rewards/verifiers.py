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
import re
from collections.abc import Callable, Sequence
from numbers import Real

import numpy as np
import regex

from tasks.rewards import equivalence
from tasks.stage.errors import ConcordError, DataError, ParamsError
from tasks.stage.params import suggest

Verifier = Callable[[str, str | None], float]

BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
AFTER_HASHES = re.compile(r"####\s*(.+)")
MARKUP = re.compile(r"(?:\\(?:text|math)(?:bf|rm|it)?(?=\s*\{)|[\\{}$*_\s])+")
LETTER = r"[(\[]?\b[A-J]\b[)\]]?"
LETTERS = rf"{LETTER}(?: ?(?:/|&|or|and) ?{LETTER}| ?, ?{LETTER}(?! [a-z]))*"  # not the I of "B, I think"
LEADING = re.compile(rf"({LETTERS})(?:$|[.:].*|(?<=[)\]]).*)")
STATED = re.compile(rf"(?i:\b(?:answer|correct (?:option|choice))(?: is)? ?:? ?(?:option |choice )?)({LETTERS})")
BRACKETED = re.compile(r"[(\[][A-J][)\]]")
CPU_SECONDS = 0.2
"""How long a regular expression may take over one answer; past that it does not match."""


def math_answer(response: str, reference: str | None) -> float:
    r"""1 if the final answer equals `reference` as mathematics, by the rules of tasks/rewards/equivalence.py.

    \dfrac{3}{4} is 0.75. The answer must be marked by \boxed or ####; `reference` may be a solution that ends in one.
    """
    if reference is None:
        return math.nan
    answer = final_answer(response)
    return float(answer is not None and equivalence.equal(final_answer(reference) or reference, answer))


def exact_match(response: str, reference: str | None) -> float:
    """1 if the final answer is `reference`, letter by letter but for case and for how much white space stands where.

    The final answer is what is marked as such, else the whole response.
    """
    if reference is None:
        return math.nan
    answer, wanted = _marked_or_all(response), _marked_or_all(reference)
    return float(answer.casefold().split() == wanted.casefold().split())


def multiple_choice(response: str, reference: str | None) -> float:
    r"""1 if the response chooses the letter of `reference`, A to J; 0 if another one, none, or more than one.

    Taken are, in this order: \boxed{B}, \boxed{\text{(B)}} or ####, of which the last counts; "The answer is B.";
    a response that starts with "B", "(B)" or "B) text"; the only letter in brackets. Raises DataError where
    `reference` is no such letter.
    """
    if reference is None:
        return math.nan
    wanted = _leading(_marked_or_all(reference))
    if len(wanted) != 1:
        raise DataError(
            f"the reference {reference!r} is not one letter from A to J, so no choice can be compared with it; "
            "give the letter, or take exact_match"
        )
    return float(_chosen(response) == wanted)


def regular_expression(response: str, reference: str | None) -> float:
    """1 if the pattern `reference` matches the whole of the final answer, which is what is marked, else the response.

    Raises DataError for what is no pattern (of the package regex, which takes those of Python's re).
    """
    if reference is None:
        return math.nan
    try:
        return float(regex.fullmatch(reference, _marked_or_all(response), timeout=CPU_SECONDS) is not None)
    except TimeoutError:
        return 0.0
    except regex.error as error:
        raise DataError(
            f"the reference {reference!r} is no regular expression ({error}), so no answer can match it; correct it"
        ) from None


VERIFIERS: dict[str, Verifier] = {
    "math_answer": math_answer,
    "exact_match": exact_match,
    "multiple_choice": multiple_choice,
    "regular_expression": regular_expression,
}


def verify(name: str, responses: Sequence[str], references: Sequence[str | None]) -> np.ndarray:
    """float32 `[n]` by the verifier called `name`: in [0, 1], or NaN where there is no reference.

    Raises ParamsError for a name that is not one, DataError where the verifier raises or returns anything else.
    """
    verifier = find(name)
    pairs = zip(responses, references, strict=True)
    return np.array([_score(name, verifier, response, reference) for response, reference in pairs], dtype=np.float32)


def find(name: str) -> Verifier:
    """The verifier called `name`, one of this file or module:function. Raises ParamsError where there is none."""
    if name in VERIFIERS:
        return VERIFIERS[name]
    module, colon, function = name.partition(":")
    if not colon:
        raise ParamsError(
            f"{name!r} is no verifier, so nothing can check the answers; {suggest(name, list(VERIFIERS))}, "
            "or your own as module:function"
        )
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


def final_answer(text: str) -> str | None:
    r"""What stands in the last `\boxed{...}`, else after the last `####` (GSM8K); None without either."""
    boxes = list(BOX.finditer(text))
    if boxes:
        return _braced(text, boxes[-1].end())
    found = AFTER_HASHES.findall(text)
    return found[-1] if found else None


def _braced(text: str, start: int) -> str | None:
    """Text from `start` up to the brace that closes; None where it never does (the response was cut off)."""
    depth = 1
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return text[start:place]
    return None


def _marked_or_all(text: str) -> str:
    marked = final_answer(text)
    return (text if marked is None else marked).strip()


def _chosen(response: str) -> set[str]:
    """The letters that a response chooses: one, none, or several where it is ambiguous."""
    marked = final_answer(response)
    if marked is not None:
        return _leading(marked)
    text = MARKUP.sub(" ", response)
    stated = "".join(STATED.findall(text))
    return set(re.findall("[A-J]", stated)) or _leading(text) or {found[1] for found in BRACKETED.findall(text)}


def _leading(text: str) -> set[str]:
    """The letters that `text` starts with, or consists of, which then may be small."""
    text = MARKUP.sub(" ", text).strip()
    alone = re.fullmatch(r"\W*([A-Ja-j])\W*", text)
    found = LEADING.match(text)
    return {alone[1].upper()} if alone else set(re.findall("[A-J]", found[1])) if found else set()
