"""Exact verification: what number-only grading gets wrong, hostile answers, and answers that were cut off."""

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.rewards import equivalence
from tasks.rewards.verifiers import final_answer, math_answer, verify
from tasks.stage.errors import ParamsError


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        (r"\boxed{42}", "42", 1),
        (r"so \boxed{41}, no: \boxed{42}", "42", 1),
        (r"\boxed{43}", "42", 0),
        (r"\boxed{1,234}", "1234", 1),
        (r"\boxed{-7}", "7", 0),
        (r"\boxed{$12.}", "12", 1),
        ("so 42", "42", 0),
        (r"\boxed{42", "42", 0),
        (r"\boxed{}", "42", 0),
        ("", "42", 0),
        ("16 - 3 = 13\n#### 13", "#### 13", 1),
        # number-only grading takes the first two pairs and refuses the third
        (r"\boxed{2\sqrt{5}}", r"2\sqrt{3}", 0),
        (r"\boxed{(1,3)}", "(1,2)", 0),
        (r"\boxed{\frac{3}{4}}", r"\dfrac{3}{4}", 1),
        (r"\boxed{0.75}", r"\dfrac{3}{4}", 1),
        (r"\boxed{1+x^2}", "x^2+1", 1),
    ],
)
def test_math_answer(answer: str, reference: str, right: int) -> None:
    assert math_answer(answer, reference) == right


def test_no_reference_is_no_label() -> None:
    assert math.isnan(math_answer(r"\boxed{1}", None))


def test_nothing_is_executed(tmp_path: object) -> None:
    """Read as a plain expression, sympy would eval this; read as LaTeX it is a product of letters, and wrong."""
    hostile = f"__import__('pathlib').Path('{tmp_path}/made').touch()"
    assert math_answer(rf"\boxed{{{hostile}}}", "1") == 0
    assert math_answer(r"\boxed{1}", hostile) == 0
    assert not list(tmp_path.iterdir())  # type: ignore[attr-defined]


def test_an_endless_comparison_is_ended_and_the_next_one_works() -> None:
    started = time.monotonic()
    assert not equivalence.equal("1", "9^{9^{9^{9}}} - 9^{9^{9^{9}}} + 1", seconds=1.0)
    assert time.monotonic() - started < 30
    assert equivalence.equal(r"\frac{1}{2}", "0.5")


def test_a_huge_answer_is_not_read() -> None:
    assert math_answer(rf"\boxed{{{'9' * 5000}}}", "9") == 0
    assert not equivalence.equal("1", "1 + " * 100 + "1")


def test_plain_integers_are_fast() -> None:
    """Tens of thousands of answers are checked in one stage."""
    started = time.monotonic()
    assert verify("math_answer", [r"\boxed{42}"] * 20_000, ["42"] * 20_000).sum() == 20_000
    assert time.monotonic() - started < 5


@given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12))
def test_integers_compare_as_integers(left: int, right: int) -> None:
    assert math_answer(rf"\boxed{{{left:,}}}", str(right)) == float(left == right)


@given(st.text())
def test_any_text_has_an_answer_or_none(text: str) -> None:
    assert final_answer(text) is None or final_answer(text) in text


def test_verify_by_name() -> None:
    scores = verify("math_answer", [r"\boxed{1}", r"\boxed{1}", "1"], ["1", None, "1"])
    np.testing.assert_array_equal(scores, np.array([1, np.nan, 0], dtype=np.float32))
    with pytest.raises(ParamsError, match=r"'math_anwser' is no verifier.*allowed: math_answer"):
        verify("math_anwser", [], [])
