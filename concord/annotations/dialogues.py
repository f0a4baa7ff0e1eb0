"""Dialogues as lists of chat turns {role, content}, and the prompts of a tutor."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from concord.annotations.fields import Object, mappings, parsed, required, shorten, text
from concord.annotations.interchange import content_hash
from concord.annotations.record import RowError
from concord.annotations.transcripts import Turn as Turn
from concord.annotations.transcripts import transcript

Tools = Literal["reject", "text"]
NAMES = {
    **dict.fromkeys(("human", "user", "prompter"), "user"),
    **dict.fromkeys(("gpt", "assistant", "model", "bot", "chatbot", "chatgpt"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
"""Name of a speaker, in lower case -> role."""
SPEAKERS = ("role", "from", "speaker")
CONTENTS = ("content", "value", "text", "utterance")
"""What a turn calls its speaker and its text; the first that is there counts."""
TOOL_CALLS = ("function_call", "tool_call")
TOOL_ROLES = (*TOOL_CALLS, "tool", "tool_response", "function", "observation", "ipython")
TURN_LIST = re.compile(
    r"""\s*\[?\s*\{\s*["'](role|from|speaker|content|value|text|utterance)["']\s*:"""
)
"""Beginning of turns that are written as JSON text, or as Python writes a list."""
TUTORING = "tutoring"
"""Domain of prompts in which a tutor answers a student."""
SYSTEM = "You are a tutor. Help the student to see and mend the mistake."
OPENING = "You asked: {}\n\n{}"
"""Template of the first user turn if the tutor speaks first: tutor's words, student's words."""


def turns(record: Object, key: str, tools: Tools = "reject") -> list[Turn]:
    """The turns under `key`, reduced to {role, content}. Raises RowError.

    A turn is {role, content}, {from, value} or {speaker, text}. The turns are a list, one turn
    alone, an object of lists as `datasets` stores them, or any of these as text in JSON or in
    Python's notation.

    Args:
        tools: what becomes of tool calls and of a tool's turns. "reject" rejects the row, "text"
            keeps them as text of the assistant and of the user.
    """
    return [turn(item, key, tools) for item in mappings({key: turn_list(record, key)}, key)]


def turn_list(record: Object, key: str) -> Any:
    """The value under `key` as a list of turns, as far as it is one."""
    value = required(record, key)
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        value = parsed(value, key)
    if not isinstance(value, dict):
        return value
    columns = {name: column for name, column in value.items() if isinstance(column, list)}
    if columns.keys().isdisjoint(SPEAKERS):
        return [value]
    if len({len(column) for column in columns.values()}) > 1:
        raise RowError("wrong_type", key, "is an object of lists of different lengths")
    return [dict(zip(columns, parts, strict=True)) for parts in zip(*columns.values(), strict=True)]


def turn(item: Object, key: str, tools: Tools = "reject") -> Turn:
    """One turn as {role, content}, with the role system, user or assistant."""
    spoken = next((name for name in SPEAKERS if item.get(name) is not None), "role")
    role = text(item, spoken, key).strip()
    role = NAMES.get(role.casefold(), role)
    content = next((item[name] for name in CONTENTS if item.get(name) is not None), None)
    calls = item.get("tool_calls") or item.get("function_call")
    if calls or role in TOOL_ROLES:
        if tools == "reject":
            raise RowError(
                "tool_turn",
                key,
                f"a turn of {role} calls a tool or holds its result, and policies use no tools; "
                "remove the row, or set the option `tools: text`",
            )
        role = "assistant" if calls or role in TOOL_CALLS else "user"
        content = "\n".join(part for part in (content, _written(calls)) if part)
    if content is None and role == "system":
        content = ""
    if isinstance(content, list):
        content = "".join(text_part(part, key) for part in content)
    return {"role": role, "content": text({"content": content}, "content", key)}


def _written(calls: Any) -> str:
    return json.dumps(calls, ensure_ascii=False) if calls else ""


def text_part(part: Any, key: str) -> str:
    """The text of one part of a content. Raises RowError for images and other types."""
    if isinstance(part, str):
        return part
    kind = part.get("type", "text") if isinstance(part, dict) else type(part).__name__
    if not isinstance(part, dict) or kind != "text":
        raise RowError(
            "wrong_type", key, f"has a part of the type {shorten(kind)}; only text can be read"
        )
    return text(part, "text", key)


def spoken(record: Object, key: str, tools: Tools = "reject") -> list[Turn]:
    """Turns, or the turns of a transcript, or text as one user turn. Raises RowError."""
    value = required(record, key)
    if not isinstance(value, str):
        return turns(record, key, tools)
    if TURN_LIST.match(value):
        return turns(record, key, tools)
    return transcript(text(record, key), key) or [{"role": "user", "content": value}]


def answer_turns(record: Object, key: str, tools: Tools = "reject") -> list[Turn]:
    """Like `spoken`, but plain text is the assistant's turn."""
    messages = spoken(record, key, tools)
    plain = isinstance(record[key], str) and messages == [{"role": "user", "content": record[key]}]
    return [{"role": "assistant", "content": record[key]}] if plain else messages


def group_id(messages: Sequence[Turn]) -> str:
    """Hash of the first user turn.

    Data sets often contain one dialogue several times, truncated at different turns. The first
    user turn is the same in all of them.
    """
    return content_hash(next((turn["content"] for turn in messages if turn["role"] == "user"), ""))


def tutor_prompt(turns: Iterable[tuple[str, str]]) -> list[Turn]:
    """Turns a tutoring dialogue into a prompt: the system turn, then the dialogue.

    Each turn is a pair (role, content). Consecutive turns of one role are joined. Chat templates
    expect the user first, so a tutor turn before the first student turn is quoted in it.

    Examples:
        >>> tutor_prompt([("assistant", "What is 2+3?"), ("user", "6")])[1:]
        [{'role': 'user', 'content': 'You asked: What is 2+3?\\n\\n6'}]
    """
    messages: list[Turn] = []
    for role, words in turns:
        content = clean_text(words)
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] = f"{messages[-1]['content']}\n{content}".strip()
        else:
            messages.append({"role": role, "content": content})
    if len(messages) > 1 and messages[0]["role"] == "assistant":
        opening = messages.pop(0)["content"]
        messages[0]["content"] = OPENING.format(opening, messages[0]["content"])
    return [{"role": "system", "content": SYSTEM}, *messages]


def clean_text(words: str) -> str:
    """Normalizes white space: single plain spaces, no blank lines, no spaces around lines.

    Examples:
        >>> clean_text("2 +   3\\n\\n  is 5 ")
        '2 + 3\\nis 5'
    """
    lines = (re.sub(r"[^\S\n]+", " ", line).strip() for line in words.splitlines())
    return "\n".join(line for line in lines if line)
