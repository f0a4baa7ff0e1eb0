"""Answers that have begun are gone on with where they stopped."""

from pathlib import Path
from typing import Any

from concord.lm.chat import render
from concord.lm.load import load_causal, load_tokenizer
from concord.rewards.process.completions import Sampler, _Continuing


def test_a_completion_goes_on_from_its_prefix(tiny_tokenizer: Any) -> None:
    """The ids that the model is asked to continue: the prompt, the assistant's header, the beginning, no end."""
    prompt = [{"role": "user", "content": "abc"}]
    begun = render(_Continuing(tiny_tokenizer), [*prompt, {"role": "assistant", "content": "xy"}])
    assert begun[:-2] == render(tiny_tokenizer, prompt)
    assert tiny_tokenizer.convert_ids_to_tokens(begun[-3:]) == [" ", "x", "y"]


def test_completions_of_one_prefix_differ(tiny_model: Path) -> None:
    sampler = Sampler(
        load_causal(tiny_model), load_tokenizer(tiny_model), {"max_new_tokens": 8, "seed": 0}
    )
    prompt = [{"role": "user", "content": "abc"}]
    first, second = sampler.rest([prompt] * 2, ["x "] * 2)
    assert first != second
    assert [first, second] == sampler.rest([prompt] * 2, ["x "] * 2)
