"""Samples whole answers, and completions of partial answers, from a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from concord.lm.chat import Messages
from concord.lm.types import CausalLM, Tokenizer


class Sampler:
    """A model with its sampling settings, the keyword arguments of `concord.lm.sample.sample`."""

    def __init__(self, model: CausalLM, tokenizer: Tokenizer, sampling: Mapping[str, Any]) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.sampling = sampling

    def answers(self, messages: Sequence[Messages]) -> list[str]:
        """One answer per prompt."""
        return self._sample(self.tokenizer, messages)

    def continuations(self, messages: Sequence[Messages], beginnings: Sequence[str]) -> list[str]:
        """One continuation of each partial answer, without the partial answer itself."""
        partial = [
            [*prompt, {"role": "assistant", "content": beginning}]
            for prompt, beginning in zip(messages, beginnings, strict=True)
        ]
        return self._sample(_ContinuationTokenizer(self.tokenizer), partial)

    def _sample(self, tokenizer: Any, messages: Sequence[Messages]) -> list[str]:
        from concord.lm.sample import sample

        return sample(self.model, tokenizer, messages, **self.sampling)


class _ContinuationTokenizer:
    """Renders prompts that end with a partial answer, the last message of the conversation."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def apply_chat_template(self, messages: Messages, **options: Any) -> list[int]:
        prompt = self._tokenizer.apply_chat_template(list(messages[:-1]), **options)
        partial = self._tokenizer(messages[-1]["content"], add_special_tokens=False)["input_ids"]
        return [*prompt, *partial]
