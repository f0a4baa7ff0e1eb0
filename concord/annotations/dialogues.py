"""Dialogues as chat turns {role, content}: out of an object, by group, and as a tutor who answers sees them."""

import re
from collections.abc import Iterable, Sequence

from concord.annotations.fields import Object, members, text
from concord.annotations.interchange import content_hash

Turn = dict[str, str]
TUTORING = "tutoring"
"""Domain of prompts at which a tutor answers a student."""
SYSTEM = "You are a tutor. Help the student to see and mend the mistake."
OPENING = "You asked: {}\n\n{}"
"""The student's first turn where the tutor spoke first."""


def turns(record: Object, key: str) -> list[Turn]:
    """The list under `key`, of every turn only {role, content}."""
    return [
        {"role": text(turn, "role", key), "content": text(turn, "content", key)}
        for turn in members(record, key)
    ]


def group(messages: Sequence[Turn]) -> str:
    """Hash of what the user says first: data sets hold one dialogue several times, cut off at different turns."""
    return content_hash(next((turn["content"] for turn in messages if turn["role"] == "user"), ""))


def tutored(said: Iterable[tuple[str, str]]) -> list[Turn]:
    """What was said, (role, words) each, as the prompt of a tutor: the system's turn first, then the student's.

    Consecutive turns of one speaker are joined. Chat models expect the user first, so that what the tutor says before
    the student's first turn is quoted there.
    """
    spoken: list[Turn] = []
    for role, words in said:
        content = clean(words)
        if spoken and spoken[-1]["role"] == role:
            spoken[-1]["content"] = f"{spoken[-1]['content']}\n{content}".strip()
        else:
            spoken.append({"role": role, "content": content})
    if len(spoken) > 1 and spoken[0]["role"] == "assistant":
        opening = spoken.pop(0)["content"]
        spoken[0]["content"] = OPENING.format(opening, spoken[0]["content"])
    return [{"role": "system", "content": SYSTEM}, *spoken]


def clean(words: str) -> str:
    """Text with plain spaces, and without blank lines or spaces at the ends of lines."""
    lines = (re.sub(r"[^\S\n]+", " ", line).strip() for line in words.splitlines())
    return "\n".join(line for line in lines if line)
