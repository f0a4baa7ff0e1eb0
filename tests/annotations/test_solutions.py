"""Labelled solutions: the joined steps are the answer and are split like sampled answers."""

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
def test_sampled_answers_are_split_at_the_same_positions(steps: list[str]) -> None:
    joined = solutions.with_separators(steps)
    assert segment.split("".join(joined), solutions.DOMAIN) == joined
    assert [step.removesuffix(solutions.SEPARATOR) for step in joined[:-1]] + joined[-1:] == steps


def test_blank_line_within_a_step_is_kept() -> None:
    assert solutions.with_separators(["a\n\nb", "c"]) == ["a\n\nb\n\n", "c"]
    assert solutions.with_separators([]) == []


@pytest.mark.parametrize(
    ("first", "labels"),
    [(None, [1, 1, 1]), (0, [0, None, None]), (1, [1, 0, None]), (2, [1, 1, 0])],
)
def test_steps_after_the_first_error_are_unlabelled(
    first: int | None, labels: list[float | None]
) -> None:
    assert solutions.labels_until_error(3, first) == labels


def test_question_is_the_default_group() -> None:
    same, other = solutions.problem("Why? "), solutions.problem("Why?", "g")
    assert same["messages"] == other["messages"] == [{"role": "user", "content": "Why?"}]
    assert (
        same["group_id"]
        == solutions.problem("Why? ")["group_id"]
        != solutions.problem("How?")["group_id"]
    )
    assert other["group_id"] == "g"
