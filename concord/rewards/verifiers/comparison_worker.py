r"""The program of the comparison process: whether expressions of LaTeX are equal, with sympy.

It reads lines of JSON, `[questions, seconds]`. A question is (relation, left, right, tolerance).
It replies to each line with `[verdicts, CPU seconds, fault]`. The verdicts are null if they took
more than `seconds` of CPU time, or too much memory. The fault is the traceback of an error that is
no property of the texts, else null. Each line is answered by a fork, which is killed at a limit;
the next fork starts from the same warm state.

Expressions are parsed as LaTeX only, because sympy's parser of plain expressions calls `eval`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from functools import cache
from typing import Any

MEMORY_BYTES = 2**30
"""Memory limit of the process."""
DIGITS = 150
"""Two values that agree to so many digits are equal."""
POINTS = 6
"""Number of points at which expressions with variables are compared."""
WARM = [
    ("equal", r"\sqrt{2}+\sin^2 x", r"\log_2 x!+e^{2a_n}", "0"),
    (
        "equal",
        r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
        r"\begin{pmatrix}1&2\\3&{I}\end{pmatrix}",
        "0",
    ),
    ("equal", r"\frac{n(n+1)}{2}", r"\binom{n+1}{2}", "0"),
    ("equal", r"\cos\frac{\pi}{3}", r"\frac{1}{\sqrt[3]{8}}", "1/1000"),
    ("multiple", "(y)-(2x+1)", "(4x)-(2y-2)", "0"),
    ("positive multiple", "(x)-(3)", "(2x)-(6)", "0"),
]
"""Questions that warm the process up: sympy and the parser load much of their code lazily."""
RELATIONS = ("equal", "multiple", "positive multiple")
FAULT = b"!"
"""First byte of the reply of a fork that failed by a fault of the comparison."""
Question = tuple[str, str, str, str]


UNDECIDED = (MemoryError, RecursionError, ArithmeticError, NotImplementedError)
"""What sympy raises if it cannot compute a value, or not within the limits of the process."""


class UnreadableError(Exception):
    """A text has no meaning that can be compared."""


def holds(relation: str, left: str, right: str, tolerance: str) -> bool:
    """Whether two expressions are in a relation; False if they cannot be read or computed.

    Relations: `equal`, for numbers up to the fraction `tolerance`; `multiple`, one is the other
    times a number other than 0; `positive multiple`. Any other error is raised: it is a fault of
    ours and no property of the text.
    """
    try:
        return _holds(relation, expression(left), expression(right), tolerance)
    except (UnreadableError, *UNDECIDED):
        return False


def _holds(relation: str, one: Any, other: Any, tolerance: str) -> bool:
    from sympy import Expr, MatrixBase, Rational

    if isinstance(one, MatrixBase) or isinstance(other, MatrixBase):
        return relation == "equal" and _same_matrix(one, other)
    if not isinstance(one, Expr) or not isinstance(other, Expr):
        return relation == "equal" and bool(one == other)
    if relation != "equal":
        return _is_multiple(one, other, positive=relation == "positive multiple")
    if tolerance != "0":
        return _is_near(one, other, Rational(tolerance))
    return _is_equal(one, other)


@cache
def expression(text: str) -> Any:
    """The sympy object that a text of LaTeX means. Decimals are exact.

    Raises UnreadableError if the parser fails on it, or it means no object of sympy.
    """
    import re

    from latex2sympy2_extended.latex2sympy2 import latex2sympy
    from latex2sympy2_extended.math_normalization import NormalizationConfig, normalize_latex

    text = re.sub(r"(\d*)\.(\d+)", _fraction, text)
    config = NormalizationConfig(
        basic_latex=True, malformed_operators=True, nits=True, boxed="none"
    )
    try:
        normal = normalize_latex(text, config)
        parsed = latex2sympy(normal, is_real=True, convert_degrees=False, normalization_config=None)
        return parsed.doit()
    except Exception as error:  # the parser raises all kinds for text that is no mathematics
        raise UnreadableError(text) from error


def _fraction(match: Any) -> str:
    whole, digits = match.groups()
    return rf"{{\frac{{{int(whole + digits)}}}{{1{'0' * len(digits)}}}}}"


def _same_matrix(one: Any, other: Any) -> bool:
    return getattr(one, "shape", None) == getattr(other, "shape", None) and all(
        _is_equal(left, right) for left, right in zip(one, other, strict=True)
    )


def _is_equal(one: Any, other: Any) -> bool:
    """Whether two expressions are equal wherever both are real."""
    from sympy import I, simplify
    from sympy.core.function import AppliedUndef

    if one == other:
        return not one.has(*_no_numbers())
    if not (one.free_symbols | other.free_symbols):
        return _is_zero(one - other) is True
    if one.atoms(AppliedUndef) | other.atoms(AppliedUndef):
        return bool(simplify(one - other) == 0)
    skips = not (one.has(I) or other.has(I))
    zeros = []
    for left, right in _values([one, other]):
        if skips and _is_real(left) != _is_real(right):
            continue
        zero = _is_zero(left - right)
        if zero is False:
            return False
        zeros.append(zero)
    return zeros.count(True) > 1


def _is_multiple(one: Any, other: Any, positive: bool) -> bool:
    """Whether the quotient of two expressions with variables is the same number everywhere."""
    if not one.free_symbols or not other.free_symbols:
        return False
    first: tuple[Any, Any] | None = None
    count = 0
    for left, right in _values([one, other]):
        zeros = _is_zero(left), _is_zero(right)
        if None in zeros or True in zeros:
            if zeros[0] is not zeros[1]:
                return False
            continue
        if positive and not (left / right).is_positive:
            return False
        first = first or (left, right)
        if _is_zero(left * first[1] - right * first[0]) is not True:
            return False
        count += 1
    return count > 2


def _is_near(one: Any, other: Any, tolerance: Any) -> bool:
    """Whether two numbers differ by at most the tolerance."""
    difference = (one - other).evalf(30)
    return bool(difference.is_number and difference.is_real and abs(difference) <= tolerance)


def _values(expressions: Sequence[Any]) -> Any:
    """Yields the values of the expressions at each point where all of them have one."""
    from sympy import Rational

    symbols = sorted(set().union(*(each.free_symbols for each in expressions)), key=str)
    for number in range(POINTS):
        point = {
            symbol: Rational(*_coordinate(number, index)) for index, symbol in enumerate(symbols)
        }
        values = [each.subs(point) for each in expressions]
        if not any(value.has(*_no_numbers()) for value in values):
            yield values


def _coordinate(point: int, variable: int) -> tuple[int, int]:
    """A fraction between 0 and 3.3; negative at the fifth point, and half of them at the sixth."""
    numerator = 1 + (31 * (point + 1) * (variable + 3) ** 2 + 17 * point**2) % 97
    negative = point == 4 or (point == 5 and variable % 2 == 0)
    return (-numerator if negative else numerator), 30 + (13 * (point + 2) * (variable + 1)) % 41


def _no_numbers() -> tuple[Any, ...]:
    from sympy import nan, zoo

    return nan, zoo


def _is_real(value: Any) -> bool:
    return bool(_is_zero(value.evalf(20).as_real_imag()[1]))


def _is_zero(value: Any) -> bool | None:
    """Whether a number is 0, to 150 digits unless it is rational; None if it is no number."""
    if value.is_Rational:
        return bool(value == 0)
    value = value.evalf(2, maxn=DIGITS)
    if not value.is_number or value.has(*_no_numbers()) or value.is_finite is False:
        return None
    # sympy gives a part without a significant digit the precision 1.
    return all(part == 0 or getattr(part, "_prec", 2) == 1 for part in value.as_real_imag())


def _serve() -> None:
    import gc
    import logging
    import resource

    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for question in WARM:
        holds(*question)
    expression.cache_clear()
    gc.freeze()
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(*json.loads(line))), flush=True)


def _answer(
    questions: list[Question], seconds: float
) -> tuple[list[bool] | None, float, str | None]:
    """Answers the questions in a forked process."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, seconds)
            os.write(writer, bytes(holds(*question) for question in questions))
        except Exception:  # noqa: BLE001 - the parent reports it
            os.write(writer, FAULT + traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        verdicts = pipe.read()
    usage = os.wait4(pid, 0)[2]
    used = usage.ru_utime + usage.ru_stime
    if verdicts.startswith(FAULT):
        return None, used, verdicts.removeprefix(FAULT).decode()
    complete = len(verdicts) == len(questions)
    return [bool(byte) for byte in verdicts] if complete else None, used, None


if __name__ == "__main__":
    _serve()
