"""Compares expressions in a separate process with limits of CPU time and memory.

A hostile answer such as `9^{9^{9^9}}` can keep sympy busy forever inside a single C call, or
exhaust the memory. The comparison therefore runs in the separate process of `comparison_worker`,
which forks for each answer. The limit is CPU time rather than wall-clock time, so that a busy
machine does not turn correct answers into wrong ones. An aborted comparison counts as not equal.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
from collections.abc import Sequence
from functools import cache

from concord.rewards.verifiers import comparison_worker
from concord.rewards.verifiers.comparison_worker import Question

CPU_SECONDS = 0.4
"""CPU time limit of all comparisons of one answer."""
LEAST_SECONDS = 0.005
"""With less CPU time left, nothing is compared."""


def verdicts(questions: Sequence[Question], seconds: float) -> tuple[list[bool] | None, float]:
    """The answers to questions about expressions, and the CPU time that they took.

    Without answers (None) if they were aborted at the limit of `seconds` of CPU time, or of memory.
    Raises ComparisonError if the program of the process has a fault.
    """
    return _comparison_process().ask(questions, seconds)


def aborted_comparisons() -> int:
    """Number of answers of this process whose comparison was aborted at a limit."""
    return _comparison_process().aborted


class ComparisonError(Exception):
    """A fault of the comparison itself, not of what is compared."""


class _ComparisonProcess:
    """The separate process. It is started with the first comparison."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.aborted = 0

    def ask(self, questions: Sequence[Question], seconds: float) -> tuple[list[bool] | None, float]:
        answers, used, fault = None, 0.0, None
        if seconds > LEAST_SECONDS:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps([questions, seconds]) + "\n")
            process.stdin.flush()
            reply = process.stdout.readline() or "[null, 0, null]"
            answers, used, fault = json.loads(reply)
        if fault is not None:
            raise ComparisonError(f"{questions} cannot be compared; please report this:\n{fault}")
        self.aborted += answers is None
        return answers, used

    def _running(self) -> subprocess.Popen[str]:
        if self.process is None or self.process.poll() is not None:
            self.close()
            command = [sys.executable, "-P", comparison_worker.__file__]
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
