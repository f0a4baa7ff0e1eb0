"""A function of the user as a judge: any code that grades an answer.

process_labels:
  judges:
    polite: {kind: function, function: "my_judges:polite"}

The function, here `polite` in `my_judges.py` in the root of the project, takes the messages of the
prompt and the answer, and returns a number from 0 (bad) to 1 (good). An edit of its file reruns the
stages that call it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic.dataclasses import dataclass

from concord.lm.chat import Messages
from concord.stage import user_function
from concord.stage.errors import DataError, ParamsError
from concord.stage.params import FORBID

Grade = Callable[[Messages, str], float]
ROLE = user_function.Role(
    "judge",
    ([], "answer"),
    "messages and an answer",
    "(messages: list[dict], answer: str) -> float",
)


@dataclass(frozen=True, config=FORBID)
class FunctionJudgeParams:
    """Parameters of a judge that is a function."""

    function: str
    """The function as `module:name`."""
    kind: Literal["function"] = "function"
    """The name of this module."""

    def __post_init__(self) -> None:
        if not all(self.function.partition(":")):
            raise ValueError(
                f"function is {self.function!r}; write module:name, such as my_judges:polite"
            )


PARAMS = FunctionJudgeParams


class FunctionJudge:
    """Calls the function for each answer. Raises ParamsError if it cannot be called."""

    def __init__(self, name: str) -> None:
        self.name, self.grade = name, find(name)

    def verdicts(self, messages: Sequence[Messages], answers: Sequence[str]) -> np.ndarray:
        """Verdicts in [0, 1], float64 `(answers,)`.

        Raises DataError if the function fails, or returns something else.
        """
        pairs = zip(messages, answers, strict=True)
        return np.array([self._verdict(*pair) for pair in pairs], dtype=float)

    def _verdict(self, messages: Messages, answer: str) -> float:
        given = f"the answer {answer[:200]!r}"
        verdict: float = user_function.call(self.grade, self.name, ROLE, given, messages, answer)
        if not isinstance(verdict, Real) or not 0 <= verdict <= 1 or math.isnan(verdict):
            raise DataError(
                f"the judge {self.name} returned {verdict!r} for {given}; it "
                "must return a number from 0 to 1"
            )
        return float(verdict)


def find(name: str) -> Grade:
    """The function `module:name`. Raises ParamsError if it does not exist or takes no answer."""
    return user_function.find(name, ROLE)


def load(params: FunctionJudgeParams, device: Any, dtype: str, cache: Path) -> FunctionJudge:
    """The judge. It does not use `cache`."""
    return FunctionJudge(params.function)


def missing(params: FunctionJudgeParams, where: str, root: Path) -> Iterator[str]:
    """Yields a message if the function does not exist, or cannot be called with an answer."""
    try:
        find(params.function)
    except ParamsError as error:
        yield f"{where}.function: {error}"
