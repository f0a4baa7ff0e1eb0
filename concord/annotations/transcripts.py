"""Dialogues that were written as one text: transcripts, and texts rendered by a chat template."""

import re

from concord.annotations.record import RowError

Turn = dict[str, str]
HH = re.compile(r"(?:^|\n\n)(Human|Assistant):")
CHATML = re.compile(r"<\|im_start\|>(\w+)\n?")
LLAMA = re.compile(r"<\|start_header_id\|>(\w+)<\|end_header_id\|>\n*")
GEMMA = re.compile(r"<start_of_turn>(\w+)\n?")
ZEPHYR = re.compile(r"(?:^|\n)<\|(system|user|assistant)\|>\n?")
STARTS = (CHATML, LLAMA, GEMMA, ZEPHYR)
"""What begins a turn in the common chat templates."""
ENDS = re.compile(
    r"<\|im_end\|>|<\|eot_id\|>|<end_of_turn>|<\|end\|>|</s>|<\|endoftext\|>|<\|begin_of_text\|>|<bos>"
)
OTHER = re.compile(
    r"\[INST\]|<<SYS>>|<\|im_(start|sep)\|>|<\|start_header_id\|>|<start_of_turn>"
    r"|<\uff5c(User|Assistant)\uff5c>|<\|(User|Assistant)\|>"
)
"""Control tokens of templates that cannot be split into turns."""
ROLES = {
    "human": "user",
    "user": "user",
    "assistant": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "system",
}


def transcript(text: str, column: str) -> list[Turn] | None:
    """The turns of a transcript or a rendered template, or None if the text is neither.

    A final empty turn of the assistant, which asks for an answer, is left out. Raises RowError for
    a text with control tokens of a template that cannot be split.

    Examples:
        >>> transcript("\\n\\nHuman: Hi.\\n\\nAssistant: ", "prompt")
        [{'role': 'user', 'content': 'Hi.'}]
        >>> transcript("Who wrote Human Traces?", "prompt")
    """
    speakers = next((start for start in STARTS if start.search(text)), None)
    if speakers is None and is_hh(text):
        speakers = HH
    if speakers is not None:
        turns = split(text, speakers, column)
        if turns[-1] == {"role": "assistant", "content": ""}:
            turns.pop()
        return turns
    if OTHER.search(text):
        raise _template(column)
    return None


def is_hh(text: str) -> bool:
    """Whether a text is a transcript of Human and Assistant."""
    start = HH.match(text) or HH.match(text.lstrip())
    return start is not None and (text[:2] == "\n\n" or "\n\nAssistant:" in text)


def split(text: str, speakers: re.Pattern[str], column: str) -> list[Turn]:
    """Splits a text at what begins a turn. Raises RowError for an unknown speaker."""
    text = text if speakers is not HH else "\n\n" + text.lstrip()
    before, *parts = speakers.split(text)
    turns = []
    for name, words in zip(parts[::2], parts[1::2], strict=True):
        content = words if speakers is HH else ENDS.sub("", words)
        if name.casefold() not in ROLES or OTHER.search(content):
            raise _template(column)
        turns.append({"role": ROLES[name.casefold()], "content": content.strip()})
    if ENDS.sub("", before).strip():
        raise RowError("template", column, "has text before the first turn of its transcript")
    return turns


def _template(column: str) -> RowError:
    return RowError(
        "template",
        column,
        "holds control tokens of a chat template; give the dialogue as a list of {role, content}",
    )
