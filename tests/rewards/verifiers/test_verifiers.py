r"""The built-in verifiers, custom verifiers, and the extraction of final answers."""

import math
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.rewards.verifiers import dispatch, equivalence
from concord.rewards.verifiers.exact_match import verify as exact_match
from concord.rewards.verifiers.final_answer import final_answer
from concord.rewards.verifiers.layout import canonical
from concord.rewards.verifiers.math_answer import verify as math_answer
from concord.rewards.verifiers.multiple_choice import verify as multiple_choice
from concord.rewards.verifiers.numerals import number
from concord.rewards.verifiers.parsing import parse
from concord.rewards.verifiers.quantities import quantity
from concord.rewards.verifiers.regular_expression import verify as regular_expression
from concord.stage.errors import DataError, ParamsError

TABLE = Path(__file__).with_name("cases.tsv")


class Case(NamedTuple):
    """A line of the table."""

    verifier: str
    right: float
    response: str
    reference: str


def _cases() -> Iterator[Case]:
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            verifier, right, response, reference = line.split("\t")
            yield Case(verifier, float(right), response, reference)


CASES = list(_cases())


@pytest.mark.parametrize("name", sorted({case.verifier for case in CASES}))
def test_cases(name: str) -> None:
    verify = dispatch.find(name)
    cases = [case for case in CASES if case.verifier == name]
    wrong = [case for case in cases if verify(case.response, case.reference) != case.right]
    assert not wrong, "\n".join(map(str, wrong))


def test_at_least_half_of_the_cases_are_wrong_answers() -> None:
    assert len(set(CASES)) == len(CASES) >= 400
    assert sum(case.right == 0 for case in CASES) >= len(CASES) / 2


@pytest.mark.parametrize(
    ("response", "reference", "right"),
    [
        (r"so \boxed{41}, no: \boxed{42}", "42", 1),
        (r"so \boxed{42}, no: \boxed{41}", "42", 0),
        (r"\boxed{\boxed{42}}", "42", 1),
        (r"\fbox{42}", "42", 1),
        (r"\boxed{\frac{\sqrt{3}}{2}}", r"it is \boxed{\frac{\sqrt 3}{2}}.", 1),
        (r"\boxed{ 42 }", " 42 ", 1),
        ("so 42", "42", 0),
        (r"\boxed{42", "42", 0),
        (r"\boxed{42} or \boxed{42", "42", 0),
        (r"\boxed{}", "42", 0),
        (r"\boxed{}", "", 0),
        ("", "42", 0),
        ("16 - 3 = 13\n#### 13", "3 apples\n#### 13", 1),
        ("#### 12\n#### 13", "13", 1),
        ("#### 1,300 dollars", "$1300", 1),
        (r"\boxed{12} #### 13", "13", 0),
    ],
)
def test_extraction_of_the_final_answer(response: str, reference: str, right: float) -> None:
    assert math_answer(response, reference) == right


@pytest.mark.parametrize(
    "verifier", [exact_match, math_answer, multiple_choice, regular_expression]
)
def test_without_a_reference_the_score_is_nan(verifier: dispatch.Verifier) -> None:
    assert math.isnan(verifier(r"\boxed{1}", None))


def test_nothing_is_executed(tmp_path: Path) -> None:
    """sympy would eval this as a plain expression; as LaTeX it is a product of letters."""
    hostile = f"__import__('pathlib').Path('{tmp_path}/made').touch()"
    assert math_answer(rf"\boxed{{{hostile}}}", "x+1") == 0
    assert math_answer(r"\boxed{x+1}", hostile) == 0
    assert not list(tmp_path.iterdir())


def test_plain_integers_are_fast() -> None:
    """A stage checks tens of thousands of answers."""
    started = time.process_time()
    assert (
        dispatch.score_all(
            "math_answer", [r"\boxed{42}", r"\boxed{1,042}"] * 10_000, ["42", "1042"] * 10_000
        ).sum()
        == 20_000
    )
    assert time.process_time() - started < 5


def _number(value: Fraction, form: int) -> str:
    """`value` in one of several notations."""
    top, bottom = abs(value.numerator), value.denominator
    sign = "-" if value < 0 else ""
    forms = [
        f"{top}/{bottom}",
        rf"\frac{{{top}}}{{{bottom}}}",
        rf"{top // bottom}\frac{{{top % bottom}}}{{{bottom}}}",
    ]
    forms += [f"{top // bottom:,}"] if bottom == 1 else []
    return sign + forms[form % len(forms)]


FRACTIONS = st.fractions(-(10**9), 10**9, max_denominator=1000)


@given(FRACTIONS, st.integers(0, 3), st.integers(0, 3))
def test_a_number_equals_itself_in_any_notation(value: Fraction, form: int, other: int) -> None:
    assert equivalence.equal(_number(value, form), _number(value, other))


@given(FRACTIONS, FRACTIONS, st.integers(0, 3), st.integers(0, 3))
def test_equality_is_symmetric(left: Fraction, right: Fraction, form: int, other: int) -> None:
    sides = _number(left, form), _number(right, other)
    assert equivalence.equal(*sides) == equivalence.equal(*reversed(sides)) == (left == right)


@given(st.floats(1e-30, 1e30), st.floats(1e-30, 1e30))
def test_decimals_are_equal_if_their_text_is(left: float, right: float) -> None:
    """repr is exact: two floats are equal if and only if their texts are."""
    assert (
        equivalence.equal(repr(left), repr(right))
        == equivalence.equal(repr(right), repr(left))
        == (left == right)
    )


@given(st.lists(st.sampled_from(["", " ", "  ", "\n", "\\,", "\\ ", "~"]), min_size=6, max_size=6))
def test_white_space_is_ignored(spaces: list[str]) -> None:
    tokens = ["(", r"\frac{1}{2}", ",", "-3", r"\sqrt{2}", ")"]
    spaced = "".join(space + token for space, token in zip(spaces, tokens, strict=True))
    assert canonical(spaced) == canonical("".join(tokens))


PIECES = st.sampled_from(
    [
        *"0123456789.,/+-=^_%$€()[]{}\\i ",
        r"\frac{",
        r"\text{",
        "cm",
        r"\{",
        r"\overline{",
        "e5",
        "√",
    ]
)


@given(st.lists(PIECES, max_size=12).map("".join) | st.text())
def test_any_text_can_be_parsed(text: str) -> None:
    layout = canonical(text)
    assert layout == layout.strip()
    value, unit = quantity(layout)
    assert unit == unit.strip()
    assert number(value) is None or value
    parse(layout)


@given(st.text())
def test_a_final_answer_is_part_of_the_text(text: str) -> None:
    answer = final_answer(text)
    assert answer is None or answer in text


@pytest.mark.parametrize(
    ("response", "reference", "right"),
    [
        ("Paris", "paris", 1),
        ("  The\n Eiffel  tower ", "the Eiffel Tower", 1),
        (r"I say \boxed{Paris}", "Paris", 1),
        ("I say\n#### Paris", "#### Paris", 1),
        ("I say Paris", "Paris", 0),
        ("New York", "NewYork", 0),
        ("Paris.", "Paris", 0),
    ],
)
def test_exact_match(response: str, reference: str, right: float) -> None:
    assert exact_match(response, reference) == right


@pytest.mark.parametrize(
    ("response", "right"),
    [
        (r"\boxed{B}", 1),
        (r"\boxed{\text{(B)}}", 1),
        (r"\boxed{\textbf{(B)}\ 12}", 1),
        (r"\boxed{b}", 1),
        (r"\boxed{B. Paris}", 1),
        (r"\boxed{A}, no: \boxed{B}", 1),
        ("#### B", 1),
        ("B", 1),
        ("(B)", 1),
        ("**B**", 1),
        ("B) Paris, as A is in Spain", 1),
        ("The answer is B.", 1),
        ("A is in Spain. Hence the answer is **B**, I think", 1),
        ("Answer: (B)", 1),
        ("The correct option is B because A is wrong", 1),
        ("The answer is B. So the answer is B.", 1),
        ("Hence I choose (B).", 1),
        (r"\boxed{A}", 0),
        (r"\boxed{A, B}", 0),
        (r"\boxed{A or B}", 0),
        (r"\boxed{Paris}", 0),
        (r"\boxed{B", 0),
        ("The answer is A or B", 0),
        ("The answer is A. The answer is B.", 0),
        ("The answer is B, C", 0),
        ("The answer is not B", 0),
        ("Either (A) or (B)", 0),
        ("Bears", 0),
        ("", 0),
    ],
)
def test_multiple_choice(response: str, right: float) -> None:
    for reference in ("B", "(b)", "B) Paris", r"\boxed{\text{B}}"):
        assert multiple_choice(response, reference) == right


@pytest.mark.parametrize("reference", ["Paris", "", "A or B", "K"])
def test_a_reference_without_a_letter_is_an_error(reference: str) -> None:
    with pytest.raises(
        DataError,
        match=r"the reference .* is not a single letter from A to J; give the letter or",
    ):
        multiple_choice("B", reference)


@pytest.mark.parametrize(
    ("response", "pattern", "right"),
    [
        (r"\boxed{2024-01-31}", r"\d{4}-\d\d-\d\d", 1),
        ("colour", "colou?r", 1),
        ("colours", "colou?r", 0),
        ("COLOUR", "colou?r", 0),
        ("COLOUR", "(?i)colou?r", 1),
        (" yes \n", "yes|no", 1),
    ],
)
def test_regular_expression(response: str, pattern: str, right: float) -> None:
    assert regular_expression(response, pattern) == right


def test_catastrophic_backtracking_is_aborted() -> None:
    started = time.process_time()
    assert regular_expression("a" * 100_000 + "!", r"(a+a+)+b") == 0
    assert time.process_time() - started < 1


def test_an_invalid_pattern_is_an_error() -> None:
    with pytest.raises(
        DataError,
        match=r"'\(' is not a valid regular expression \(.*\); correct the reference",
    ):
        regular_expression("yes", "(")


def test_verify_by_name() -> None:
    scores = dispatch.score_all("math_answer", [r"\boxed{1}", r"\boxed{1}", "1"], ["1", None, "1"])
    np.testing.assert_array_equal(scores, np.array([1, np.nan, 0], dtype=np.float32))
    assert scores.dtype == np.float32


CUSTOM = """
import math
import numpy as np

def is_even(response, reference): return float(response.strip()[-1:] in tuple("02468"))
def half(response, reference, share=0.5): return np.float32(share)
def truth(response, reference): return np.bool_(response == reference)
def unsure(response, reference): return math.nan
def fails(response, reference): raise KeyError("no such thing")
def double(response, reference): return 2
def says(response, reference): return "right"
def one(response): return 1.0
"""


@pytest.fixture
def custom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module with custom verifiers."""
    (tmp_path / "my_checks.py").write_text(CUSTOM)
    (tmp_path / "broken.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_checks", raising=False)
    return "my_checks"


def test_a_custom_verifier(custom: str) -> None:
    """It may work without a reference, give partial credit, and return NaN without a reference."""
    np.testing.assert_array_equal(
        dispatch.score_all(f"{custom}:is_even", ["so 12", "so 13", ""], [None] * 3), [1, 0, 0]
    )
    np.testing.assert_array_equal(dispatch.score_all(f"{custom}:half", ["x"], ["y"]), [0.5])
    np.testing.assert_array_equal(
        dispatch.score_all(f"{custom}:truth", ["x", "y"], ["x", "x"]), [1, 0]
    )
    np.testing.assert_array_equal(dispatch.score_all(f"{custom}:unsure", ["x"], [None]), [np.nan])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "math_anwser",
            r"'math_anwser' is not a verifier; did you mean math_answer\? "
            r"allowed: exact_match, math_answer,",
        ),
        (
            "my_cheks:is_even",
            r"importing my_cheks fails \(ModuleNotFoundError.*; put the module into",
        ),
        (
            "broken:is_even",
            r"importing broken fails \(ZeroDivisionError: division by zero\); put the module",
        ),
        (":is_even", r"importing it fails \(ValueError"),
        (
            "my_checks:is_evn",
            r"my_checks has no function 'is_evn'; did you mean is_even\? allowed: is_even,",
        ),
        ("my_checks:np", r"my_checks has no function 'np'"),
        (
            "my_checks:one",
            r"'my_checks:one' cannot be called with a response and a reference, "
            r"so it is not a verifier; define it as one\(",
        ),
    ],
)
def test_an_invalid_verifier_name(custom: str, name: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        dispatch.score_all(name, [], [])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "fails",
            r"my_checks:fails raised KeyError \('no such thing'\) in line \d+ of my_checks.py, on "
            r"the response 'x' .* 'y'; fix the function",
        ),
        (
            "double",
            r"my_checks:double returned 2 for .*, which is not a valid score; "
            "return a number from 0 to 1, or NaN",
        ),
        ("says", r"my_checks:says returned 'right' for"),
        ("unsure", r"my_checks:unsure returned nan for"),
    ],
)
def test_an_invalid_score_is_an_error(custom: str, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        dispatch.score_all(f"{custom}:{name}", ["x"], ["y"])


def test_an_error_of_a_built_in_verifier_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps its traceback, and nobody is asked to fix a verifier of Concord."""
    monkeypatch.setattr("concord.rewards.verifiers.math_answer.final_answer", None)
    with pytest.raises(TypeError):
        dispatch.score_all("math_answer", ["x"], ["y"])
