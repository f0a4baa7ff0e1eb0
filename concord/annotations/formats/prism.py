"""PRISM: people from many countries rate the answers of several models in a conversation.

Reads `utterances.jsonl` of https://huggingface.co/datasets/HannahRoseKirk/prism-alignment (arXiv
2404.16019; prompts CC-BY-4.0, answers CC-BY-NC-4.0), one answer per row:

    {"conversation_id": "c1", "user_id": "user1", "turn": 0, "user_prompt": "...",
     "model_response": "...", "model_name": "...", "score": 73, "if_chosen": true}

Makes a rating on the scale 1 to 100 from each answer to the first turn of a conversation. Each
person is an annotator. A later turn follows an answer that this file does not put in order, so its
prompt is unknown and the row is left out. The prompt is the group.

Options:
- `objective`: the objective of the scores. Default: overall.
"""

from collections.abc import Iterator
from typing import Any

from pydantic.dataclasses import dataclass

from concord.annotations.dialogues import group_id
from concord.annotations.fields import given, integer, number, text
from concord.annotations.record import RowError
from concord.stage.params import FORBID

SCALE = [1, 100]


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    objective: str = "overall"
    """The objective of the scores."""


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """Yields the rating of an answer."""
    if integer(row, "turn") != 0:
        raise RowError("left_out", "turn", "is a later turn, whose prompt is not in this file")
    given(row, "score")
    messages = [{"role": "user", "content": text(row, "user_prompt")}]
    yield {
        "kind": "rating",
        "group_id": group_id(messages),
        "messages": messages,
        "response": text(row, "model_response"),
        "author": text(row, "model_name"),
        "rating": number(row, "score"),
        "scale": SCALE,
        "objective": options.objective,
        "annotator": text(row, "user_id"),
    }
