"""Completions continue partial answers."""

from pathlib import Path
from typing import Any

from concord.lm.chat import render
from concord.lm.load import load_causal, load_tokenizer
from concord.rewards.process.completions import Sampler, partial_ids


def test_the_prompt_of_a_completion_ends_with_the_prefix(tiny_tokenizer: Any) -> None:
    """The model continues the prompt, the assistant header and the partial answer."""
    prompt = [{"role": "user", "content": "abc"}]
    ids = partial_ids(tiny_tokenizer, prompt, "xy")
    assert ids[:-2] == render(tiny_tokenizer, prompt)
    assert tiny_tokenizer.convert_ids_to_tokens(ids[-3:]) == [" ", "x", "y"]


def test_completions_of_one_prefix_differ(tiny_model: Path) -> None:
    sampler = Sampler(
        load_causal(tiny_model), load_tokenizer(tiny_model), {"max_new_tokens": 8, "seed": 0}
    )
    prompt = [{"role": "user", "content": "abc"}]
    first, second = sampler.continuations([prompt] * 2, ["x "] * 2)
    assert first != second
    assert [first, second] == sampler.continuations([prompt] * 2, ["x "] * 2)
