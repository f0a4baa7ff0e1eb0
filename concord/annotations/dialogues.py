"""Dialogues as lists of chat turns {role, content}, and the prompts of a tutor."""

import re
from collections.abc import Iterable, Sequence

from concord.annotations.fields import Object, mappings, text
from concord.annotations.interchange import content_hash

Turn = dict[str, str]
TUTORING = "tutoring"
"""Domain of prompts in which a tutor answers a student."""
SYSTEM = "You are a tutor. Help the student to see and mend the mistake."
OPENING = "You asked: {}\n\n{}"
"""Template of the first user turn if the tutor speaks first: tutor's words, student's words."""


def turns(record: Object, key: str) -> list[Turn]:
    """The turns listed under `key`, reduced to {role, content}. Raises RowError."""
    return [
        {"role": text(turn, "role", key), "content": text(turn, "content", key)}
        for turn in mappings(record, key)
    ]


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
