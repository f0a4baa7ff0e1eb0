"""Labelled solutions: their steps joined are the answer, cut where sampled answers are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.annotations import solutions
from concord.annotations import steps as segment

STEP = st.text(alphabet="ab. \n", min_size=1, max_size=12)


@given(
    st.lists(
        STEP.filter(lambda step: step.strip() and "\n\n" not in step and step[0] != "\n"),
        min_size=1,
    )
)
def test_sampled_answers_are_cut_at_the_same_places(steps: list[str]) -> None:
    joined = solutions.joined(steps)
    assert segment.split("".join(joined), solutions.DOMAIN) == joined
    assert [step.removesuffix(solutions.SEPARATOR) for step in joined[:-1]] + joined[-1:] == steps


def test_a_blank_line_in_a_step_stays_there() -> None:
    assert solutions.joined(["a\n\nb", "c"]) == ["a\n\nb\n\n", "c"]
    assert solutions.joined([]) == []


@pytest.mark.parametrize(
    ("first", "labels"),
    [(None, [1, 1, 1]), (0, [0, None, None]), (1, [1, 0, None]), (2, [1, 1, 0])],
)
def test_steps_after_the_first_error_have_no_label(
    first: int | None, labels: list[float | None]
) -> None:
    assert solutions.until_error(3, first) == labels


def test_a_problem_is_a_group_unless_one_is_given() -> None:
    same, other = solutions.problem("Why? "), solutions.problem("Why?", "g")
    assert same["messages"] == other["messages"] == [{"role": "user", "content": "Why?"}]
    assert (
        same["group_id"]
        == solutions.problem("Why? ")["group_id"]
        != solutions.problem("How?")["group_id"]
    )
    assert other["group_id"] == "g"
