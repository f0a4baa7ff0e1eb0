"""Dialogues that were written as one text: transcripts, and texts rendered by a chat template."""

import re

from concord.annotations.record import RowError

Turn = dict[str, str]
HH = re.compile(r"(?:^|\n\n)(Human|Assistant):")
LINES = re.compile(r"(?:^|\n)[ \t]*(User|Human|Assistant)[ \t]*:", re.IGNORECASE)
"""What begins a turn where a line names the speaker."""
INLINE = re.compile(r"(?:^|\s)(USER|ASSISTANT):")
"""What begins a turn in Vicuna's template."""
NAMED = (HH, LINES, INLINE)
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
    if speakers is None:
        speakers = named_speakers(text)
    if speakers is not None:
        turns = split(text, speakers, column)
        if turns[-1] == {"role": "assistant", "content": ""}:
            turns.pop()
        return turns
    if OTHER.search(text):
        raise _template(column)
    return None


def named_speakers(text: str) -> re.Pattern[str] | None:
    """What begins a turn in a transcript that names its speakers, or None if it is none.

    A transcript begins with the person and has a turn of the assistant. One in Vicuna's template
    may have a system prompt first.

    Examples:
        >>> named_speakers("User: Hi.\\nAssistant:") is LINES
        True
        >>> named_speakers("Be brief. USER: Hi. ASSISTANT:") is INLINE
        True
        >>> named_speakers("User: what does this word mean?")
    """
    if is_hh(text):
        return HH
    start = text.lstrip()
    first = LINES.match(start)
    if first and ROLES[first[1].casefold()] == "user" and _answers(LINES, start):
        return LINES
    return INLINE if "USER:" in text and _answers(INLINE, text) else None


def is_hh(text: str) -> bool:
    """Whether a text is a transcript of Human and Assistant, in the form of HH-RLHF."""
    is_labelled = HH.match(text.lstrip()) is not None
    return is_labelled and (text[:2] == "\n\n" or "\n\nAssistant:" in text)


def _answers(speakers: re.Pattern[str], text: str) -> bool:
    return any(name.casefold() == "assistant" for name in speakers.findall(text))


def split(text: str, speakers: re.Pattern[str], column: str) -> list[Turn]:
    """Splits a text at what begins a turn. Raises RowError for an unknown speaker."""
    text = text if speakers is not HH else "\n\n" + text.lstrip()
    before, *parts = speakers.split(text)
    turns = []
    if speakers is INLINE and before.strip():
        before, turns = "", [{"role": "system", "content": before.strip()}]
    for name, words in zip(parts[::2], parts[1::2], strict=True):
        content = words if speakers in NAMED else ENDS.sub("", words)
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
