r"""HH-RLHF: two transcripts of one dialogue, of which people preferred the first.

Reads https://huggingface.co/datasets/Anthropic/hh-rlhf (arXiv 2204.05862):

    {"chosen": "\n\nHuman: ...\n\nAssistant: ...", "rejected": "\n\nHuman: ...\n\nAssistant: ..."}

Makes one comparison per row. The transcripts are identical up to the last assistant turn, and the
two last turns are the answers. A row whose transcripts differ earlier is rejected, because its
answers belong to different prompts.

The first turn is the group: the data contain one dialogue several times, truncated at different
turns.

Options:
- `objective`: the objective of the preferences. The files do not name one. Required.
"""

import re
from collections.abc import Iterator
from typing import Any

from pydantic.dataclasses import dataclass

from concord.annotations.fields import text
from concord.annotations.interchange import content_hash
from concord.annotations.record import RowError
from concord.annotations.shapes import OBJECTIVE, Row, Shape
from concord.annotations.transcripts import is_hh
from concord.stage.params import FORBID

SPEAKER = re.compile(r"\n\n(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}


def is_transcript(row: Row) -> bool:
    """Whether the preferred answer is a whole transcript."""
    return isinstance(row["chosen"], str) and is_hh(row["chosen"]) and "prompt" not in row


SHAPES = (Shape(("chosen", "rejected"), {"objective": OBJECTIVE}, is_transcript, extra=3),)


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    objective: str
    """The objective of the preferences. The files do not name one."""


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """Yields the comparison of a row."""
    chosen = turns(text(row, "chosen"), "chosen")
    rejected = turns(text(row, "rejected"), "rejected")
    if chosen[:-1] != rejected[:-1]:
        raise RowError(
            "different_prompts",
            "rejected",
            "the transcripts differ before the assistant's last turn",
        )
    yield {
        "kind": "comparison",
        "group_id": content_hash(chosen[0]["content"]),
        "messages": chosen[:-1],
        "a": chosen[-1]["content"],
        "b": rejected[-1]["content"],
        "preferred": "a",
        "objective": options.objective,
        "annotator": "hh_rlhf",
    }


def turns(transcript: str, column: str) -> list[dict[str, str]]:
    """Splits a transcript into chat turns. Raises RowError unless the last one is the assistant's.

    Examples:
        >>> turns("\\n\\nHuman: Hi.\\n\\nAssistant: Hello!", "chosen")[1]
        {'role': 'assistant', 'content': 'Hello!'}
    """
    before, *parts = SPEAKER.split(transcript)
    messages = [
        {"role": ROLES[speaker], "content": words.strip()}
        for speaker, words in zip(parts[::2], parts[1::2], strict=True)
    ]
    if before.strip() or not messages:
        raise RowError("wrong_type", column, "does not begin with '\\n\\nHuman:'")
    if messages[-1]["role"] != "assistant":
        raise RowError("roles_do_not_alternate", column, "does not end with an assistant turn")
    return messages
