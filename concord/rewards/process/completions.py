"""Samples whole answers, and completions of partial answers, from a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from concord.lm.chat import Messages, render, text_ids
from concord.lm.types import CausalLM, Tokenizer


class Sampler:
    """A model with its sampling settings, the keyword arguments of `concord.lm.sample`."""

    def __init__(self, model: CausalLM, tokenizer: Tokenizer, sampling: Mapping[str, Any]) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.sampling = sampling

    def answers(self, messages: Sequence[Messages]) -> list[str]:
        """One answer per prompt."""
        from concord.lm.sample import sample

        return sample(self.model, self.tokenizer, messages, **self.sampling)

    def continuations(self, messages: Sequence[Messages], beginnings: Sequence[str]) -> list[str]:
        """One continuation of each partial answer, without the partial answer itself."""
        from concord.lm.sample import sample_ids

        prompts = [
            partial_ids(self.tokenizer, prompt, beginning)
            for prompt, beginning in zip(messages, beginnings, strict=True)
        ]
        ids = sample_ids(self.model, self.tokenizer, prompts, **self.sampling)
        return [self.tokenizer.decode(row, skip_special_tokens=True) for row in ids]


def partial_ids(tokenizer: Tokenizer, messages: Messages, beginning: str) -> list[int]:
    """Token ids of the prompt, the assistant header and the beginning of an answer."""
    return [*render(tokenizer, messages), *text_ids(tokenizer, beginning)]
