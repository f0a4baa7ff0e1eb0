"""Steps of a response: boundaries in each domain; the joined steps are the response."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.annotations.steps import split
from concord.sandbox.world import World

PLAIN_END = re.compile(r"[.!?]+[\"')\]]*(?=\s|$)")
"""Sentence ends in text without abbreviations, lists and code, such as the sandbox's."""
FENCED = "Run:\n```\na. b. c.\nd = 1. # Hi. There.\n```\nThen stop."


@pytest.mark.parametrize(
    ("domain", "text", "steps"),
    [
        (
            "math",
            "2 + 2 = 4\n\n4 * 2 = 8\n\n\\boxed{8}",
            ["2 + 2 = 4\n\n", "4 * 2 = 8\n\n", "\\boxed{8}"],
        ),
        ("math", "one line\nand another\n\n", ["one line\nand another\n\n"]),
        ("math", "Run:\n```\na\n\nb\n```\n\nDone.", ["Run:\n```\na\n\nb\n```\n\n", "Done."]),
        ("tutoring", "Good. What is 2 + 2?", ["Good. What is 2 + 2?"]),
        ("values", "", []),
        ("tutoring", "", []),
    ],
)
def test_boundaries(domain: str, text: str, steps: list[str]) -> None:
    assert split(text, domain) == steps


@pytest.mark.parametrize(
    "steps",
    [
        ["no end"],
        ["Yes.", " Pi is 3.14!", " Really?"],
        ["What?!", " No way!!", " Yes."],
        ["One.", "\nTwo.", "\n\nThree."],
        # lists
        ["1. Wash it.", "\n2. Dry it."],
        ["1. Wash it.", " 2. Dry it."],
        ["First:\n\n1. Wash it.", "\n2. Dry it.", "\n\nDone."],
        ["1. soap\n2. water\n3. Dry it.", "\nDone."],
        ["a) Wash it.", "\nb) Dry it."],
        ["a. Wash it.", "\nb. Dry it."],
        ["- One.", "\n- Two."],
        ["The sum is 4.", " 5 is next."],
        # abbreviations
        ["Dr. Smith came.", " He left."],
        ["Mr. and Mrs. Jones vs. the State.", " They won."],
        ["Use fruit, e.g. apples.", " They keep."],
        ["Fruit (e.g. Apples) is good, i.e. healthy.", " Yes."],
        ["She lives in the U.S. today.", " He does not."],
        ["He moved to the U.S.", " He likes it."],
        ["It is 5 p.m. now.", " Go."],
        ["J. R. R. Tolkien wrote it.", " George W. Bush did not."],
        ["It is B.", " It is not I.", " Good."],
        ["Apples, pears, etc. keep well.", " So do plums, nuts, etc.", " Yes."],
        ["No. 5 is alive.", " The answer is no.", " I am sure."],
        ["See Fig. 3 and Eq. 2.", " Both help."],
        # numbers and names
        ["It costs $3.50.", " Pay now."],
        ["Version 2.0.1 is out.", " Visit example.com.", " Get it."],
        # quotes, brackets, emphasis
        ['He said "Stop."', " Then he left."],
        ['"Stop!" he said.', " He ran."],
        ["“Stop!”", " He ran."],
        ["(This is so.)", " That is not."],
        ["**Bold.**", " Next."],
        # ellipses
        ["Wait... what?", " Yes."],
        ["Well...", " I think so."],
        ["Well… maybe.", " No…", " Yes."],
        # code
        ["Call `a.b. c` now.", " Then stop."],
        ["Use `x. Y` here.", " Done."],
        ["`ab`.", " `Cd. e` too."],
        [FENCED, " Done."],
        ["```python\nprint('Hi. You.')\n```"],
        ["Go.", "\n~~~\nOpen. To. The end."],
    ],
    ids=lambda steps: "".join(steps)[:40],
)
def test_sentences(steps: list[str]) -> None:
    assert split("".join(steps), "values") == steps


PIECES = st.sampled_from(
    [*"ab \n\t.!?…`\"')]*1", "\r\n", "```", "\n```\n", "~~~", "\n\n", "Dr.", "e.g.", "U.S.", "2. "]
)
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=40).map("".join)


@given(TEXTS, st.sampled_from(["math", "values", "tutoring", "other"]))
def test_joined_steps_are_the_response(text: str, domain: str) -> None:
    steps = split(text, domain)
    assert "".join(steps) == text
    assert all(step.strip() for step in steps) or not text.strip()


@given(TEXTS, st.sampled_from(["math", "values"]))
def test_space_between_sentences_begins_a_step_and_blank_line_ends_one(
    text: str, domain: str
) -> None:
    inner = split(text, domain)[:-1]
    assert all(
        step.endswith("\n") if domain == "math" else not step[-1].isspace() for step in inner
    )


@pytest.mark.parametrize("name", ["dev", "locked"])
def test_sandbox_answers_are_split_at_plain_sentence_ends(name: str) -> None:
    world, rng = World.build(name, 0), random.Random(0)
    for prompt in world.prompts("values", 1000, 0):
        answer = world.write(prompt.messages, rng)
        ends = [
            match.end() for match in PLAIN_END.finditer(answer) if answer[match.end() :].strip()
        ]
        plain = [
            answer[start:end] for start, end in zip([0, *ends], [*ends, len(answer)], strict=True)
        ]
        assert split(answer, "values") == plain
