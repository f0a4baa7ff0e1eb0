"""Converts chat messages to token ids with the tokenizer's chat template."""

from collections.abc import Sequence

from concord.lm.types import Tokenizer
from concord.stage.errors import DataError

Messages = Sequence[dict[str, str]]
"""The turns of a conversation, each with the keys `role` and `content`."""


def render(tokenizer: Tokenizer, messages: Messages) -> list[int]:
    """Token ids of the prompt, including the header that starts the assistant's turn."""
    return _apply_template(tokenizer, messages, header=True)


def encode(
    tokenizer: Tokenizer, messages: Messages, response: str, max_length: int
) -> tuple[list[int], int]:
    """Token ids of prompt, response and end of sequence, and the number of prompt tokens.

    Sequences longer than `max_length` are truncated on the left: the prompt loses its first tokens.
    The assistant header and the response are never cut. Raises DataError if these two alone exceed
    `max_length`.
    """
    prompt = render(tokenizer, messages)
    answer = [*tokenizer(response, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    room = max_length - len(answer)
    if len(prompt) > room:
        header = len(assistant_header(tokenizer))
        if room < header:
            raise DataError(
                f"a response of {len(answer)} tokens and the assistant header of {header} tokens "
                f"do not fit in max_length {max_length}; raise model.max_length or remove the row"
            )
        prompt = prompt[-room:]
    return prompt + answer, len(prompt)


def assistant_header(tokenizer: Tokenizer) -> list[int]:
    """Token ids of the header that starts the assistant's turn, at least one.

    This is the part of a prompt that is never truncated.
    """
    probe = [{"role": "user", "content": "a"}]
    ids = render(tokenizer, probe)
    without_header = _apply_template(tokenizer, probe, header=False)
    return ids[min(len(without_header), len(ids) - 1) :]


def _apply_template(tokenizer: Tokenizer, messages: Messages, header: bool) -> list[int]:
    ids = tokenizer.apply_chat_template(
        list(messages), add_generation_prompt=header, return_dict=False
    )
    return list(ids)
