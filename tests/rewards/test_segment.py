"""Steps of a response: the boundaries of each domain, and that the steps joined are the response."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.rewards.segment import split


@pytest.mark.parametrize(
    ("domain", "text", "steps"),
    [
        ("math", "2 + 2 = 4\n\n4 * 2 = 8\n\n\\boxed{8}", ["2 + 2 = 4\n\n", "4 * 2 = 8\n\n", "\\boxed{8}"]),
        ("math", "one line\nand another\n\n", ["one line\nand another\n\n"]),
        ("values", "Yes. Pi is 3.14! Really?", ["Yes.", " Pi is 3.14!", " Really?"]),
        ("values", "no end", ["no end"]),
        ("tutoring", "Good. What is 2 + 2?", ["Good. What is 2 + 2?"]),
        ("values", "", []),
        ("tutoring", "", []),
    ],
)
def test_boundaries(domain: str, text: str, steps: list[str]) -> None:
    assert split(text, domain) == steps


@given(st.text(alphabet="ab.!? \n", max_size=40), st.sampled_from(["math", "values", "tutoring", "other"]))
def test_the_steps_joined_are_the_response(text: str, domain: str) -> None:
    steps = split(text, domain)
    assert "".join(steps) == text
    assert all(step.strip() for step in steps) or not text.strip()
