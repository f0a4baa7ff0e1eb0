"""Exact verifiers: 1 where the answer of a response is right, 0 where it is not, NaN where there is no reference.

Nothing in a response is executed or eval-ed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

import numpy as np

from tasks.rewards import equivalence
from tasks.stage.errors import ParamsError

INTEGER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d{1,40})")
AFTER_HASHES = re.compile(r"####\s*(.+)")


def math_answer(response: str, reference: str | None) -> float:
    """1 if the final answer of `response` equals `reference` as mathematics, not as text: \\dfrac{3}{4} is 0.75."""
    if reference is None:
        return math.nan
    answer, wanted = final_answer(response), _tidy(final_answer(reference) or reference)
    if answer is None:
        return 0.0
    answer = _tidy(answer)
    if INTEGER.fullmatch(answer) and INTEGER.fullmatch(wanted):
        return float(int(answer.replace(",", "")) == int(wanted.replace(",", "")))
    return float(bool(answer) and (answer == wanted or equivalence.equal(wanted, answer)))


def final_answer(text: str) -> str | None:
    """What stands in the last `\\boxed{...}`, else after the last `####` (GSM8K); None without either."""
    start = text.rfind("\\boxed{")
    if start >= 0:
        return _braced(text, start + len("\\boxed{"))
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


def _tidy(answer: str) -> str:
    return answer.strip().removesuffix(".").replace("\\$", "").replace("$", "").strip()


VERIFIERS: dict[str, Callable[[str, str | None], float]] = {"math_answer": math_answer}


def verify(name: str, responses: Sequence[str], references: Sequence[str | None]) -> np.ndarray:
    """float32 `[n]` by the verifier called `name`. Raises ParamsError for a name that is not one."""
    if name not in VERIFIERS:
        raise ParamsError(f"{name!r} is no verifier, so nothing can check the answers; allowed: {', '.join(VERIFIERS)}")
    pairs = zip(responses, references, strict=True)
    return np.array([VERIFIERS[name](response, reference) for response, reference in pairs], dtype=np.float32)
