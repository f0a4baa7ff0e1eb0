"""Over a thousand generated hostile answers: a verdict within a second, and no process is left."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from concord.rewards.verifiers import comparison_process, equivalence
from concord.rewards.verifiers.dispatch import Verifier
from concord.rewards.verifiers.exact_match import verify as exact_match
from concord.rewards.verifiers.math_answer import verify as math_answer
from concord.rewards.verifiers.multiple_choice import verify as multiple_choice
from concord.rewards.verifiers.regular_expression import verify as regular_expression

BRACKETS = [("{", "}"), ("(", ")"), ("[", "]"), (r"\{", r"\}"), (r"\left(", r"\right)"), ("|", "|")]
COMMANDS = [r"\frac", r"\sqrt", r"\text", r"\boxed", r"\begin{pmatrix}", r"\overline", r"\binom"]
COMMANDS += [
    r"\dot",
    r"\pm",
    r"\cup",
    r"\in",
    r"\mid",
    r"\sum_{i=1}^",
    r"\color",
    "<answer>",
    "####",
]
CODE = [
    "__import__('os').system('touch {})",
    "().__class__.__bases__[0].__subclasses__()",
    "eval('1+1')",
    "lambda: 0",
    "{{7*7}}",
    "${7*7}",
    "$(touch x)",
    "`touch x`",
    "%s%n%p",
    "'; DROP TABLE answers; --",
    r"\input{/etc/passwd}",
    r"\write18{touch x}",
    r"\def\x{\x\x}\x",
    "<script>alert(1)</script>",
    "exec(open('x').read())",
    "Symbol('x').subs(1, 2)",
    "[c for c in ().__class__.__base__.__subclasses__()]",
]
UNICODE = "∞√∑∫⅓²⁻₃×÷≤≠∈∅πΩ°′﷽𝟓٥\u202e\u200b\u0301\ufeff\u2028\x00\x07\ud800"  # noqa: RUF001


def _nested(chance: random.Random) -> str:
    """Random nesting of brackets and commands."""
    text = chance.choice(["1", "x", "y+1", ""])
    for _ in range(chance.randrange(2, 30)):
        left, right = chance.choice(BRACKETS)
        text = (
            chance.choice(["", *COMMANDS])
            + left
            + text
            + chance.choice([right, right, ",2" + right])
        )
    return text


def _unbalanced(chance: random.Random) -> str:
    marks = [mark for pair in BRACKETS for mark in pair] + COMMANDS + list("0123x+-=<>,. ")
    return "".join(chance.choices(marks, k=chance.randrange(1, 60)))


def _long(chance: random.Random) -> str:
    piece = chance.choice(
        [*COMMANDS, "1,", "9", "(", "{", "}", "x+", "a b ", "\n", "or ", "=1", "°"]
    )
    return piece * chance.randrange(200, 20_000)


def _unicode(chance: random.Random) -> str:
    codes = [chance.randrange(0x110000) for _ in range(chance.randrange(40))]
    pieces = [*map(chr, codes), *chance.choices(UNICODE, k=20), *"123x()^="]
    return "".join(chance.sample(pieces, k=len(pieces)))


def _code(chance: random.Random) -> str:
    parts = chance.choices([*CODE, "1", "x", "+", "=", ",", " or "], k=chance.randrange(1, 5))
    return "".join([chance.choice(CODE), *parts])


def _huge(chance: random.Random) -> str:
    """Powers, factorials and the like that no computer can write out."""
    number = str(chance.randrange(2, 99))
    for _ in range(chance.randrange(3, 6)):
        number = chance.choice(
            [
                "9^{{{}}}",
                "({})!",
                "{}^{{10^9}}",
                r"\binom{{10^9}}{{{}}}",
                r"\sum_{{n=1}}^{{{}}} n^n",
            ]
        ).format(number)
    return number


KINDS = {_nested: 120, _unbalanced: 250, _long: 250, _unicode: 250, _code: 150, _huge: 10}


def _answers() -> Iterator[str]:
    chance = random.Random(15)
    for make, count in KINDS.items():
        for _ in range(count):
            yield make(chance)


def _cpu_times(process: psutil.Process) -> float:
    """CPU seconds of a process and of its children that have ended."""
    return float(sum(process.cpu_times()[:4]))


def _worker() -> psutil.Process:
    assert equivalence.equal("x+1", "1+x")
    process = comparison_process._comparison_process().process
    assert process is not None
    return psutil.Process(process.pid)


def test_generated_answers_get_a_verdict_within_a_second_of_cpu_time() -> None:
    """The limit is CPU time: on a busy machine a verdict may take longer by the clock."""
    answers = list(_answers())
    assert len(answers) > 1000
    here, worker = psutil.Process(), _worker()
    children = set(here.children(recursive=True))
    before = _cpu_times(here) + _cpu_times(worker)
    for answer in answers:
        assert math_answer(rf"\boxed{{{answer}}}", "x^2+3") == 0, answer[:200]
        after = _cpu_times(here) + _cpu_times(worker)
        assert after - before < 1, answer[:200]
        before = after
    assert set(here.children(recursive=True)) == children, "a process is left behind"
    assert _worker() == worker, "the process was replaced"


@pytest.mark.parametrize(
    ("verifier", "reference"),
    [(exact_match, "x"), (multiple_choice, "J"), (regular_expression, r"\d+x{9}")],
)
def test_the_other_verifiers_survive_them_too(verifier: Verifier, reference: str) -> None:
    for answer in _answers():
        before = time.process_time()
        assert verifier(answer, reference) in (0, 1)
        assert time.process_time() - before < 1, answer[:200]


def test_nothing_is_executed(tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for code in CODE:
        assert math_answer(rf"\boxed{{{code}}}", "x^2+3") == 0
        assert math_answer(r"\boxed{x^2+3}", code) == 0
    assert not os.listdir(tmp_path)


SCRIPT = """
import os, sys, time
from concord.rewards.verifiers import comparison_process, equivalence
assert equivalence.equal("x+1", "1+x")
print(comparison_process._comparison_process().process.pid, flush=True)
if sys.argv[1] == "busy":
    equivalence.equal("x", "9^{9^{9^{9}}}", seconds=3)
if sys.argv[1] == "wait":
    time.sleep(60)
"""


@pytest.mark.parametrize("state", ["end", "wait", "busy"])
def test_no_process_is_left_when_this_one_ends_or_is_killed(state: str) -> None:
    script = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, state], stdout=subprocess.PIPE, text=True
    )
    assert script.stdout is not None
    worker = psutil.Process(int(script.stdout.readline()))
    if state == "busy":
        _wait_until(lambda: bool(worker.children()))
    if state != "end":
        script.send_signal(signal.SIGKILL)
    processes = [worker, *worker.children()] if state != "end" else [worker]
    script.communicate(timeout=60)
    _wait_until(lambda: not any(map(_lives, processes)))


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
