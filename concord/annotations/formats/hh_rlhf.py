r"""Anthropic's HH-RLHF: two transcripts of one dialogue, of which people preferred the first.

    {"chosen": "\n\nHuman: ...\n\nAssistant: ...", "rejected": "\n\nHuman: ...\n\nAssistant: ..."}

A line becomes a comparison: the transcripts agree up to the assistant's last turn, and its two forms are the answers. A
line whose transcripts differ before that is rejected, since the answers were given to different prompts. The dialogue's
first turn is the group: the data hold one dialogue several times, cut off at different turns.

Options: `objective` (what people preferred by; the files do not say).
"""

import re
from collections.abc import Iterator
from typing import Any

from pydantic.dataclasses import dataclass

from concord.annotations.fields import text
from concord.annotations.interchange import content_hash
from concord.annotations.record import RowError
from concord.stage.params import FORBID

SPEAKER = re.compile(r"\n\n(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    objective: str
    """The objective that the preferences are about."""


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """The comparison of a line."""
    chosen, rejected = (
        turns(text(row, "chosen"), "chosen"),
        turns(text(row, "rejected"), "rejected"),
    )
    if chosen[:-1] != rejected[:-1]:
        raise RowError(
            "different_prompts",
            "rejected",
            "the transcripts differ before the assistant's last turn",
        )
    answers = {"a": chosen[-1]["content"], "b": rejected[-1]["content"], "preferred": "a"}
    judged = {"objective": options.objective, "annotator": "hh_rlhf"}
    group = content_hash(chosen[0]["content"])
    yield {"kind": "comparison", "group_id": group, "messages": chosen[:-1], **answers, **judged}


def turns(transcript: str, column: str) -> list[dict[str, str]]:
    """A transcript as chat turns, the last one the assistant's."""
    before, *parts = SPEAKER.split(transcript)
    said = [
        {"role": ROLES[speaker], "content": words.strip()}
        for speaker, words in zip(parts[::2], parts[1::2], strict=True)
    ]
    if before.strip() or not said:
        raise RowError("wrong_type", column, "does not begin with '\\n\\nHuman:'")
    if said[-1]["role"] != "assistant":
        raise RowError("roles_do_not_alternate", column, "does not end with the assistant's turn")
    return said
