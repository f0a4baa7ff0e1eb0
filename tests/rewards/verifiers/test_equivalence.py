"""Comparisons of hostile answers are aborted within a second and do not affect the next one."""

import io
import json
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import psutil
import pytest

from concord.rewards.verifiers import comparison_process, comparison_worker, equivalence
from concord.rewards.verifiers.dispatch import Verifier
from concord.rewards.verifiers.exact_match import verify as exact_match
from concord.rewards.verifiers.math_answer import verify as math_answer
from concord.rewards.verifiers.multiple_choice import verify as multiple_choice
from concord.rewards.verifiers.regular_expression import verify as regular_expression

HOSTILE = {
    "nested powers": "9^{9^{9^{9}}}",
    "powers less powers": "9^{9^{9^{9}}} - 9^{9^{9^{9}}} + 1",
    "10^10^10": "10^10^10",
    "10^{10^{10}}": "10^{10^{10}}",
    "a power of ten": "10^{999999999}",
    "e notation": "1e999999999",
    "100 kB of brackets": "(" * 100_000,
    "100 kB of braces": "{" * 50_000 + "}" * 50_000,
    "100 kB of boxes": r"\boxed{" * 14_000 + "1" + "}" * 14_000,
    "100 kB of hashes": "####" * 12_500 + "\n" * 50_000,
    "100 kB of white space": " " * 100_000 + "x",
    "nested brackets": "(" * 99 + "y" + ")" * 99,
    "nested roots": r"\sqrt{" * 28 + "2" + "}" * 28,
    "nested fractions": r"\frac{1}{" * 20 + "y" + "}" * 20,
    "a huge integer": "9" * 100_000,
    "a huge integer's power": "9" * 90 + "^{" + "9" * 90 + "}",
    "a factorial": "(10^{9})!",
    "factorials of factorials": "((9!)!)!",
    "a binomial": r"\binom{10^9}{5\cdot 10^8}",
    "a long list": "1," * 50_000,
    "a list": "1,2," * 49,
    "a sum": r"\sum_{n=1}^{10^{12}} n^n",
    "an integral": r"\int_0^1 e^{x^x^x} dx",
    "an expansion": "(x+y+z+w)^{200}",
    "a huge matrix": r"\operatorname{eye}(1000000)",
    "null bytes": "1\0" * 99,
    "lone surrogates": "\ud800" * 99,
    "new lines": "1\n2\n3" * 30,
    "units": "1" + " aaa" * 49,
    "open text": r"\text{" * 33,
    "back slashes": "\\" * 199,
}


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    assert equivalence.equal("x+1", "1+x")


def _process() -> subprocess.Popen[str]:
    process = comparison_process._comparison_process().process
    assert process is not None
    return process


@contextmanager
def within_a_second() -> Iterator[None]:
    """Limits the CPU time of both processes to a second, and the time on a busy machine to five."""
    times = psutil.Process(_process().pid).cpu_times
    clock, cpu, other_cpu = time.monotonic(), time.process_time(), sum(times()[:4])
    yield
    assert time.process_time() - cpu + sum(times()[:4]) - other_cpu < 1
    assert time.monotonic() - clock < 5


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_answer_is_rejected_within_a_second(hostile: str) -> None:
    with within_a_second():
        assert math_answer(rf"\boxed{{{hostile}}}", "x^2") == 0


@pytest.mark.parametrize(
    "hostile", ["9^{9^{9^{9}}}", "10^{10^{10}}", r"\gcd(10^{10^8}, 7^{10^8})", "(10^9)!"]
)
def test_two_hostile_expressions_are_rejected_within_a_second(hostile: str) -> None:
    with within_a_second():
        assert math_answer(rf"\boxed{{{hostile} + 1}}", hostile) == 0


@pytest.mark.parametrize("verifier", [exact_match, multiple_choice, regular_expression])
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_the_other_verifiers_take_less_than_a_second(verifier: Verifier, hostile: str) -> None:
    with within_a_second():
        assert verifier(hostile, "B") == 0


def test_an_aborted_comparison_is_counted_and_the_process_survives() -> None:
    """Starting a new process with sympy would take a second or two."""
    before, process = comparison_process.aborted_comparisons(), _process()
    assert not equivalence.equal("x^2", "9^{9^{9^{9}}}", seconds=0.2)
    assert comparison_process.aborted_comparisons() == before + 1
    assert equivalence.equal(r"\sqrt{2}\cdot\sqrt{2}", "2")
    assert comparison_process.aborted_comparisons() == before + 1
    assert _process() is process


def test_memory_is_limited() -> None:
    assert (
        resource.prlimit(_process().pid, resource.RLIMIT_AS)
        == (comparison_worker.MEMORY_BYTES,) * 2
    )


def test_a_dead_comparison_process_is_replaced() -> None:
    _process().kill()
    _process().wait()
    assert equivalence.equal(r"\sqrt{4}", "2")


UNREADABLE = ["\\frac{1}{", "}{", "\\begin{pmatrix}1&2\\\\3\\end{pmatrix}", "\\lim_{x}", ""]


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_the_parser_cannot_read_is_not_equal(text: str) -> None:
    assert not comparison_worker.holds("equal", text, "2", "0")


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_the_parser_cannot_read_has_no_meaning(text: str) -> None:
    with pytest.raises(comparison_worker.UnreadableError):
        comparison_worker.expression(text)


def test_an_error_within_sympy_is_a_fault_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a wrong call, for instance. It would read as a wrong answer."""
    question = ("equal", "x+1", "x+2", "0")
    monkeypatch.setattr(comparison_worker, "_coordinate", lambda *_: ("a", "b"))
    with pytest.raises(TypeError, match="invalid input"):
        comparison_worker.holds(*question)
    _, _, fault = comparison_worker._answer([question], 5.0)
    assert fault is not None
    assert "sympy" in fault.splitlines()[-3]


def test_a_value_that_sympy_cannot_compute_is_not_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison_worker, "_is_zero", Mock(side_effect=NotImplementedError))
    assert not comparison_worker.holds("equal", "x+1", "x+2", "0")


def test_a_fault_of_the_comparison_is_no_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison_worker, "_values", None)
    question = ("equal", "(x+1)^2", "x^2+2x+1", "0")
    with pytest.raises(TypeError, match="NoneType"):
        comparison_worker.holds(*question)
    verdicts, _, fault = comparison_worker._answer([question], 5.0)
    assert verdicts is None
    assert fault is not None
    assert "_is_equal" in fault
    process = comparison_process._ComparisonProcess()
    reply = io.StringIO(json.dumps([None, 0.1, fault]) + "\n")
    running: Any = SimpleNamespace(stdin=io.StringIO(), stdout=reply)
    monkeypatch.setattr(process, "_running", lambda: running)
    with pytest.raises(comparison_process.ComparisonError, match="report this"):
        process.ask([question], 1.0)


def test_long_answers_are_compared_as_text() -> None:
    assert equivalence.equal("9" * 5000, f" {'9' * 5000} ")
    assert not equivalence.equal("1 + " * 100 + "1", "101")
