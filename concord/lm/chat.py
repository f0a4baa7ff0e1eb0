"""Converts chat messages to token ids with the tokenizer's chat template.

Special tokens come from the template only. If a message or a response contains the characters of a
special token, such as `<|im_end|>`, they are encoded as ordinary text.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

from concord.lm.types import Tokenizer
from concord.stage.errors import DataError

Messages = Sequence[dict[str, str]]
"""The turns of a conversation, each with the keys `role` and `content`."""
AS_TEXT = {"add_special_tokens": False, "split_special_tokens": True}
"""Arguments with which a tokenizer encodes text: it neither adds nor recognises special tokens."""
KEPT = 2048
"""Number of prompts whose token ids are kept."""
PRIVATE_USE = range(0xE000, 0xF900)
"""Unicode code points without a meaning."""


class TooLongError(DataError):
    """A response exceeds the maximum length, even with nothing of its prompt but the header."""


def render(tokenizer: Tokenizer, messages: Messages) -> list[int]:
    """Token ids of the prompt, including the header that starts the assistant's turn.

    The ids of the last `KEPT` prompts are kept, because a prompt usually has several answers.
    """
    key: Any = tokenizer
    turns = tuple(tuple(message.items()) for message in messages)
    return list(_rendered(key, key.chat_template, turns))


@lru_cache(maxsize=KEPT)
def _rendered(
    tokenizer: Any, _template: str, turns: tuple[tuple[tuple[str, str], ...], ...]
) -> tuple[int, ...]:
    return tuple(_apply_template(tokenizer, [dict(turn) for turn in turns], header=True))


def text_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Token ids of a text without special tokens."""
    return list(tokenizer(text, **AS_TEXT)["input_ids"])


def encode(
    tokenizer: Tokenizer,
    messages: Messages,
    response: str,
    max_length: int,
    steady_cut: bool = False,
) -> tuple[list[int], int]:
    """Token ids of prompt, response and end of sequence, and the number of prompt tokens.

    Sequences longer than `max_length` are truncated on the left: the prompt loses its first tokens.
    The assistant header and the response are never cut. With `steady_cut`, responses of different
    lengths leave the same end of a long prompt (`steady_room`).

    Raises TooLongError if the header and the response alone exceed `max_length`.
    """
    prompt = render(tokenizer, messages)
    answer = [*text_ids(tokenizer, response), tokenizer.eos_token_id]
    room = max_length - len(answer)
    if len(prompt) > room:
        header = len(assistant_header(tokenizer))
        if room < header:
            raise TooLongError(
                f"a response of {len(answer)} tokens and the assistant header of {header} tokens "
                f"do not fit in max_length {max_length}; raise model.max_length or remove the row"
            )
        kept = max(header, steady_room(room, max_length)) if steady_cut else room
        prompt = prompt[-kept:]
    return prompt + answer, len(prompt)


def steady_room(room: int, max_length: int) -> int:
    """Tokens that are left of a prompt that does not fit, as a number of quarters of `max_length`.

    `room` is what the response leaves. All responses of up to a quarter of `max_length` leave three
    quarters, so the sequences begin alike. `room` itself is returned if it is below a quarter.

    Examples:
        >>> [steady_room(room, 512) for room in (490, 400, 384, 383, 100)]
        [384, 384, 384, 256, 100]
    """
    quarter = max(1, max_length // 4)
    return min(room // quarter, 3) * quarter or room


def assistant_header(tokenizer: Tokenizer) -> list[int]:
    """Token ids of the header that starts the assistant's turn, at least one.

    This is the part of a prompt that is never truncated.
    """
    probe = [{"role": "user", "content": "a"}]
    ids = render(tokenizer, probe)
    without_header = _apply_template(tokenizer, probe, header=False)
    return ids[min(len(without_header), len(ids) - 1) :]


def _apply_template(tokenizer: Tokenizer, messages: Messages, header: bool) -> list[int]:
    added = tokenizer.added_tokens_decoder.values()
    contents = "\n".join(message["content"] for message in messages)
    if any(token.special and token.content in contents for token in added):
        return _apply_template_to_text(tokenizer, messages, header)
    return list(_templated(tokenizer, messages, add_generation_prompt=header, return_dict=False))


def _templated(tokenizer: Tokenizer, messages: Messages, **options: bool) -> Any:
    """What the chat template makes of messages. Raises DataError if it refuses them."""
    from jinja2 import TemplateError

    try:
        return tokenizer.apply_chat_template(list(messages), **options)
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise DataError(
            f"the chat template refuses a prompt with the roles {roles}: {error}; name another "
            "template in model.chat_template, or change the rows"
        ) from None


def _apply_template_to_text(tokenizer: Tokenizer, messages: Messages, header: bool) -> list[int]:
    """As `_apply_template`, for messages that contain the characters of special tokens.

    In the messages, a character that has no meaning stands for each special token. The rendered
    text is then cut at the special tokens, which are those of the template. Pieces with stand-ins
    are encoded as text, the others as they are.
    """
    special = _special_tokens(tokenizer)
    used = {character for message in messages for character in message["content"]}
    unused = (chr(code) for code in PRIVATE_USE if chr(code) not in used)
    stand_ins = dict(zip(special, unused, strict=False))
    marked = [
        {**message, "content": _replace_all(message["content"], stand_ins)} for message in messages
    ]
    rendered = _templated(tokenizer, marked, add_generation_prompt=header, tokenize=False)
    pieces = re.split(f"({'|'.join(special.values())})", rendered)
    originals = {character: token for token, character in stand_ins.items()}
    ids: list[int] = []
    for is_marked, group in groupby(pieces, lambda piece: not originals.keys().isdisjoint(piece)):
        text = "".join(group)
        if is_marked:
            ids += text_ids(tokenizer, _replace_all(text, originals))
        else:
            ids += tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _special_tokens(tokenizer: Tokenizer) -> dict[str, str]:
    """The special tokens, longest first, and a regular expression of what each of them covers."""
    tokens = sorted(tokenizer.added_tokens_decoder.values(), key=lambda token: -len(token.content))
    return {
        token.content: r"\s*" * token.lstrip + re.escape(token.content) + r"\s*" * token.rstrip
        for token in tokens
        if token.special
    }


def _replace_all(text: str, replacements: dict[str, str]) -> str:
    for old, new in replacements.items():
        text = text.replace(old, new)
    return text
