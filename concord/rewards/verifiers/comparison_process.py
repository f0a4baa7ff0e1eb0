"""Compares two expressions with math-verify, in a separate process with limits.

A hostile answer such as `9^{9^{9^9}}` can keep sympy busy forever inside a single C call, or
exhaust the memory. math-verify therefore runs in a separate process that forks for each comparison.
The fork is killed at a limit of memory or CPU time, and the next fork starts from the same warm
state. The limit is CPU time rather than wall-clock time, so that a busy machine does not turn
correct answers into wrong ones. An aborted comparison counts as not equal. Answers are parsed as
LaTeX only, because sympy's parser of plain expressions calls `eval`.

This file is also the program of the separate process. It reads lines of JSON,
[reference, answer, seconds], and replies to each with true, false, or null if it was aborted.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
from functools import cache
from typing import Any

CPU_SECONDS = 0.4
"""CPU time limit of one comparison."""
MEMORY_BYTES = 2**30
"""Memory limit of the comparison process."""
WARM = [
    ("1<x<2", r"[1,\frac{3}{2})\cup\{2,3\}"),
    (r"\sqrt{2}+\sin^2 x", r"\log_2 x!+e^{2a_n}"),
    ("x=1,y=2", "(1,2,3)"),
    ("(x,y)=(1,2)", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
    (r"\frac{n(n+1)}{2}", r"\pi r^2"),
]
"""Comparisons that warm up the process: sympy and the parser load much of their code lazily."""


def compare(reference: str, answer: str, seconds: float) -> bool:
    """Whether two LaTeX expressions are equal according to math-verify.

    False if they cannot be parsed, or if the comparison is aborted at a limit. `seconds` is the
    limit of CPU time.
    """
    return _comparison_process().compare(reference, answer, seconds)


def aborted_comparisons() -> int:
    """Number of comparisons of this process that were aborted at a limit."""
    return _comparison_process().aborted


class _ComparisonProcess:
    """The separate process that runs math-verify. It is started with the first comparison."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.aborted = 0

    def compare(self, reference: str, answer: str, seconds: float) -> bool:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([reference, answer, seconds]) + "\n")
        process.stdin.flush()
        verdict = json.loads(process.stdout.readline() or "null")
        self.aborted += verdict is None
        return verdict is True

    def _running(self) -> subprocess.Popen[str]:
        if self.process is None or self.process.poll() is not None:
            self.close()
            command = [sys.executable, "-P", __file__]
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            assert self.process.stdout is not None
            if self.process.stdout.readline() != "ready\n":
                self.close()
                raise RuntimeError(
                    f"{' '.join(command)} did not start; run it manually to see the error"
                )
        return self.process

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


@cache
def _comparison_process() -> _ComparisonProcess:
    process = _ComparisonProcess()
    atexit.register(process.close)
    return process


def _serve() -> None:
    import gc
    import logging
    import resource

    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for pair in WARM:
        _equal_by_math_verify(*pair)
    gc.freeze()
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(_compare_in_fork(*json.loads(line))), flush=True)


def _compare_in_fork(reference: str, answer: str, seconds: float) -> bool | None:
    """Compares in a forked process; None if the fork was killed at a limit."""
    pid = os.fork()
    if not pid:
        verdict = None
        try:
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, seconds)
            verdict = _equal_by_math_verify(reference, answer)
        finally:
            os._exit({True: 0, False: 1, None: 2}[verdict])
    return {0: True, 1: False}.get(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _equal_by_math_verify(reference: str, answer: str) -> bool:
    from latex2sympy2_extended.math_normalization import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse, verify

    normalization = NormalizationConfig(
        basic_latex=True, malformed_operators=True, nits=True, boxed="none"
    )
    config = LatexExtractionConfig(boxed_match_priority=-1, normalization_config=normalization)
    sides = [
        parse(
            f"${side}$",
            [config],
            extraction_mode="first_match",
            fallback_mode="no_fallback",
            parsing_timeout=None,
        )
        for side in (reference, answer)
    ]
    equal_sides = bool(verify(*sides, allow_set_relation_comp=True, timeout_seconds=None))
    return equal_sides and not _relatively_different(sides)


def _relatively_different(sides: list[list[Any]]) -> bool:
    """Whether both sides are numbers with a relative difference above 1e-5.

    math-verify compares six decimals, which is not enough for very small numbers.
    """
    from sympy import Expr

    if not all(
        isinstance(side[0], Expr) and side[0].is_number and side[0].is_finite for side in sides
    ):
        return False
    left, right = (side[0].evalf(20) for side in sides)
    return bool(abs(left - right) > 1e-5 * max(abs(left), abs(right)) + 1e-30)


if __name__ == "__main__":
    _serve()
