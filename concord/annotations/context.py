"""Context of a prompt that stands in columns of its own: a system prompt, an input, a history.

The answers were given with this context, so it is part of the prompt. Dropping it would turn
different prompts into one.
"""

from collections.abc import Collection
from typing import Any

from concord.annotations.dialogues import Tools, Turn, turn_list, turns
from concord.annotations.fields import Object, is_empty, shorten, text
from concord.annotations.record import RowError

SYSTEM = ("system", "system_prompt")
INSTRUCTION, INPUT, HISTORY = "instruction", "input", "history"
UNREAD = ("tools", "functions", "documents", "context", "image", "images", "audios", "videos")
"""Columns with context that cannot be put into a prompt of text."""


def with_context(
    row: Object, messages: list[Turn], ignore: Collection[str] = (), tools: Tools = "reject"
) -> list[Turn]:
    """The prompt `messages` with the context that the row holds beside it.

    - A text under `system` or `system_prompt` becomes the system turn, unless there is one.
    - `history` comes before the prompt: turns, or pairs [user, assistant].
    - `input` is appended to a prompt that is the row's `instruction`.

    Raises RowError `unused_context` for the columns in `UNREAD` that are not empty, and for an
    `input` without an `instruction`, unless it is a turn of the prompt. Columns in `ignore` are not
    looked at.
    """
    for key in UNREAD if INSTRUCTION in row else (*UNREAD, INPUT):
        if key in ignore or row.get(key) in (None, "", [], {}, "[]"):
            continue
        if {"role": "user", "content": row[key]} not in messages:
            raise RowError(
                "unused_context",
                key,
                f"is context of the answers that is not read: {shorten(row[key])}; put it into "
                f"the prompt, or drop it with the option `ignore: [{key}]`",
            )
    if INPUT not in ignore and INSTRUCTION in row and filled(row, INPUT):
        messages = with_input(row, messages)
    if HISTORY not in ignore and row.get(HISTORY):
        start = 1 if messages[:1] and messages[0]["role"] == "system" else 0
        messages = [*messages[:start], *history(row, tools), *messages[start:]]
    for key in SYSTEM:
        is_used = key in ignore or (messages[:1] and messages[0]["role"] == "system")
        if not is_used and filled(row, key):
            messages = [{"role": "system", "content": text(row, key)}, *messages]
    return messages


def filled(row: Object, key: str) -> bool:
    """Whether the row has a value under `key` that is not empty."""
    return not is_empty(row.get(key))


def with_input(row: Object, messages: list[Turn]) -> list[Turn]:
    """The prompt with Alpaca's `input` after its `instruction`, separated by a blank line."""
    if messages[-1:] != [{"role": "user", "content": row[INSTRUCTION]}]:
        return messages
    content = f"{text(row, INSTRUCTION)}\n\n{text(row, INPUT)}"
    return [*messages[:-1], {"role": "user", "content": content}]


def history(row: Object, tools: Tools = "reject") -> list[Turn]:
    """The turns of `history`: turns, or pairs of what the user and the assistant said."""
    earlier: Any = turn_list(row, HISTORY)
    if not isinstance(earlier, list) or not all(isinstance(pair, list) for pair in earlier):
        return turns({HISTORY: earlier}, HISTORY, tools)
    spoken: list[Turn] = []
    for pair in earlier:
        if len(pair) != 2:
            detail = f"must hold pairs [user, assistant], but holds {shorten(pair)}"
            raise RowError("wrong_type", HISTORY, detail)
        for role, words in zip(("user", "assistant"), pair, strict=True):
            spoken.append({"role": role, "content": text({HISTORY: words}, HISTORY)})
    return spoken
