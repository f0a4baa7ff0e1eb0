"""Responses as tokens: the limits are those of `encode`."""

from typing import Any

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from concord.lm.chat import encode
from concord.prepared.token_lengths import Tokens
from concord.stage.errors import DataError

QUESTION = [{"role": "user", "content": "a long question, much longer than what fits"}]


def test_too_long_responses_are_those_that_encode_rejects(tiny_tokenizer: Any) -> None:
    @given(st.integers(0, 30), st.integers(8, 30))
    def agree(length: int, max_length: int) -> None:
        frame = pd.DataFrame({"response": ["x" * length]}, dtype=object)
        too_long = Tokens(tiny_tokenizer, max_length).too_long(frame, "response").tolist()
        try:
            encode(tiny_tokenizer, QUESTION, "x" * length, max_length)
        except DataError:
            assert too_long == [True]
        else:
            assert too_long == [False]

    agree()


def test_steps_are_measured_together(tiny_tokenizer: Any) -> None:
    """max_length 8 = header of 2 + 5 characters + end of sequence."""
    frame = pd.DataFrame({"steps": [["ab", "cde"], ["abc", "def"]]}, dtype=object)
    assert Tokens(tiny_tokenizer, 8).too_long(frame, "steps").tolist() == [False, True]


def test_different_texts_can_have_the_same_tokens(tiny_tokenizer: Any) -> None:
    """The tokenizer knows only ASCII: two other letters become the same unknown token."""
    pairs = pd.DataFrame({"chosen": ["é", "a"], "rejected": ["ü", "b"]}, dtype=object)
    assert Tokens(tiny_tokenizer, 8).same_tokens(pairs).tolist() == [True, False]


def test_truncated_prompts_are_counted(tiny_tokenizer: Any) -> None:
    short = [{"role": "user", "content": "q"}]
    frame = pd.DataFrame({"messages": [QUESTION, short]})
    assert Tokens(tiny_tokenizer, 20).count_truncated_prompts(frame) == 1
