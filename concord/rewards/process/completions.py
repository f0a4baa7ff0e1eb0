"""A model asked for answers, and for the rest of answers that have begun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from concord.lm.chat import Messages


class Sampler:
    """The model and how it is sampled: what `concord.lm.sample.sample` takes."""

    def __init__(self, model: Any, tokenizer: Any, sampling: Mapping[str, Any]) -> None:
        self.model, self.tokenizer, self.sampling = model, tokenizer, sampling

    def answers(self, messages: Sequence[Messages]) -> list[str]:
        """One answer per prompt."""
        return self._sample(self.tokenizer, messages)

    def rest(self, messages: Sequence[Messages], beginnings: Sequence[str]) -> list[str]:
        """What follows each beginning of an answer."""
        begun = [
            [*prompt, {"role": "assistant", "content": beginning}]
            for prompt, beginning in zip(messages, beginnings, strict=True)
        ]
        return self._sample(_Continuing(self.tokenizer), begun)

    def _sample(self, tokenizer: Any, messages: Sequence[Messages]) -> list[str]:
        from concord.lm.sample import sample

        return sample(self.model, tokenizer, messages, **self.sampling)


class _Continuing:
    """A tokenizer whose prompt goes on into the answer: the last message is the assistant's and not finished."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def apply_chat_template(self, messages: Messages, **options: Any) -> list[int]:
        prompt = self._tokenizer.apply_chat_template(list(messages[:-1]), **options)
        return [
            *prompt,
            *self._tokenizer(messages[-1]["content"], add_special_tokens=False)["input_ids"],
        ]
