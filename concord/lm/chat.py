"""Messages as token ids, by the one chat template of the tokenizer."""

from collections.abc import Sequence
from typing import Any

from concord.stage.errors import DataError

Messages = Sequence[dict[str, str]]


def render(tokenizer: Any, messages: Messages) -> list[int]:
    """Token ids of the prompt, up to and with the header after which the assistant speaks."""
    return _template(tokenizer, messages, header=True)


def encode(
    tokenizer: Any, messages: Messages, response: str, max_length: int
) -> tuple[list[int], int]:
    """Ids of prompt, response and end of sequence, at most `max_length`, and how many of them are the prompt.

    A prompt that is too long loses its beginning. Raises DataError where the response alone, with the assistant's
    header, is too long: a response never loses its end.
    """
    prompt = render(tokenizer, messages)
    answer = [*tokenizer(response, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    room = max_length - len(answer)
    if len(prompt) > room:
        header = len(assistant_header(tokenizer))
        if room < header:
            raise DataError(
                f"a response of {len(answer)} tokens does not fit in max_length {max_length} beside the assistant's "
                f"header of {header}; raise model.max_length or quarantine the row"
            )
        prompt = prompt[-room:]
    return prompt + answer, len(prompt)


def assistant_header(tokenizer: Any) -> list[int]:
    """The ids after which the assistant speaks, one at least: the least that is kept of a prompt."""
    probe = [{"role": "user", "content": "a"}]
    ids = render(tokenizer, probe)
    return ids[min(len(_template(tokenizer, probe, header=False)), len(ids) - 1) :]


def _template(tokenizer: Any, messages: Messages, header: bool) -> list[int]:
    ids = tokenizer.apply_chat_template(
        list(messages), add_generation_prompt=header, return_dict=False
    )
    return list(ids)
