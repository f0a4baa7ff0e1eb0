"""Nectar and other ranked lists: several answers to one prompt with their ranks.

Reads https://huggingface.co/datasets/berkeley-nest/Nectar (Apache-2.0, for research):

    {"prompt": "\\n\\nHuman: ...\\n\\nAssistant: ",
     "answers": [{"answer": "...", "model": "...", "rank": 1.0}, ...]}

Makes one ranking per row; rank 1 is best, and equal ranks are ties. A prompt that is a transcript
is split into turns. An answer that occurs twice is kept with its best rank. The first user turn is
the group. Lists with other keys are read with the source's `columns` by the format `table`:
`columns: {responses: answers[].text, ranks: answers[].place}`.

Options:
- `objective`: the objective of the ranking. Default: overall.
- `annotator`: who ranked. Default: gpt-4.
"""

from collections.abc import Iterator
from typing import Any

from pydantic.dataclasses import dataclass

from concord.annotations.dialogues import group_id, spoken
from concord.annotations.fields import given, mappings, number, text
from concord.annotations.record import RowError
from concord.annotations.shapes import Shape
from concord.stage.params import FORBID

SHAPES = (Shape(("prompt", "answers[].answer", "answers[].rank")),)


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    objective: str = "overall"
    """The objective of the ranking."""
    annotator: str = "gpt-4"
    """Who ranked the answers."""


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """Yields the ranking of a row."""
    messages = spoken(row, "prompt")
    best: dict[str, tuple[float, str | None]] = {}
    for item in mappings(row, "answers"):
        given(item, "rank", "answers")
        rank, answer = number(item, "rank", "answers"), text(item, "answer", "answers")
        model = None if item.get("model") is None else text(item, "model", "answers")
        if answer not in best or rank < best[answer][0]:
            best[answer] = (rank, model)
    if len(best) < 2:
        raise RowError("no_label", "answers", "has fewer than two answers to rank")
    order = sorted({rank for rank, _ in best.values()})
    yield {
        "kind": "ranking",
        "group_id": group_id(messages),
        "messages": messages,
        "responses": list(best),
        "ranks": [order.index(rank) + 1 for rank, _ in best.values()],
        "authors": [model for _, model in best.values()],
        "objective": options.objective,
        "annotator": options.annotator,
    }
