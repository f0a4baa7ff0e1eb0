"""PRISM: people from many countries rate the answers of several models in a conversation.

Reads both files of ratings of https://huggingface.co/datasets/HannahRoseKirk/prism-alignment (arXiv
2404.16019; prompts CC-BY-4.0, answers CC-BY-NC-4.0). `conversations.jsonl` has one conversation per
row, `utterances.jsonl` one answer:

    {"conversation_id": "c1", "user_id": "user1", "conversation_history": [
        {"turn": 0, "role": "user", "content": "..."},
        {"turn": 0, "role": "model", "content": "...", "model_name": "...", "score": 73,
         "if_chosen": true}, ...]}
    {"conversation_id": "c1", "user_id": "user1", "turn": 0, "user_prompt": "...",
     "model_response": "...", "model_name": "...", "score": 73, "if_chosen": true}

Makes a rating on the scale 1 to 100 from each answer. Each person is an annotator. The prompt of a
later turn is the conversation up to there, with the answer that the person chose in each turn. Only
`conversations.jsonl` has it: from `utterances.jsonl`, answers to the first turn are read, and the
others are left out and counted. The first prompt is the group.

Options:
- `objective`: the objective of the scores. Default: overall.
"""

from collections.abc import Iterator
from typing import Any

from pydantic.dataclasses import dataclass

from concord.annotations.dialogues import Turn, group_id
from concord.annotations.fields import Object, given, integer, mappings, number, text
from concord.annotations.judgements import author
from concord.annotations.record import RowError
from concord.annotations.shapes import Shape
from concord.stage.params import FORBID

SCALE = [1, 100]
HISTORY = "conversation_history"
SHAPES = (
    Shape(("conversation_history", "user_id", "conversation_id")),
    Shape(("user_prompt", "model_response", "score", "turn")),
)


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    objective: str = "overall"
    """The objective of the scores."""


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any] | RowError]:
    """Yields the rating of every answer of a row."""
    person = text(row, "user_id")
    if row.get(HISTORY) is not None:
        yield from conversation(row, person, options.objective)
        return
    if integer(row, "turn") != 0:
        detail = "is a later turn, whose prompt is not in this file; conversations.jsonl has it"
        raise RowError("left_out", "turn", detail)
    messages = [{"role": "user", "content": text(row, "user_prompt")}]
    yield rating(row, "model_response", messages, person, options.objective)


def conversation(
    row: dict[str, Any], person: str, objective: str
) -> Iterator[dict[str, Any] | RowError]:
    """Yields the ratings of the answers in all turns of a conversation."""
    messages: list[Turn] = []
    turns = mappings(row, HISTORY)
    if not turns:
        yield RowError("no_label", HISTORY, "is empty: there is no answer")
    for number_of in sorted({integer(item, "turn", HISTORY) for item in turns}):
        said = [item for item in turns if integer(item, "turn", HISTORY) == number_of]
        asked = [item for item in said if item.get("role") == "user"]
        if len(asked) != 1:
            detail = f"turn {number_of} has {len(asked)} prompts, but one is needed"
            raise RowError("wrong_type", HISTORY, detail)
        messages = [*messages, {"role": "user", "content": text(asked[0], "content", HISTORY)}]
        answers = [item for item in said if item.get("role") == "model"]
        for item in answers:
            try:
                yield rating(item, "content", messages, person, objective)
            except RowError as error:
                yield error
        chosen = [item for item in answers if item.get("if_chosen")]
        if len(chosen) != 1:  # how the conversation continues is unknown
            if number_of != integer(turns[-1], "turn", HISTORY):
                detail = f"turn {number_of} has {len(chosen)} chosen answers; later turns are lost"
                yield RowError("left_out", HISTORY, detail)
            return
        words = text(chosen[0], "content", HISTORY)
        messages = [*messages, {"role": "assistant", "content": words}]


def rating(
    item: Object, key: str, messages: list[Turn], person: str, objective: str
) -> dict[str, Any]:
    """The rating of the answer under `key`. Raises RowError."""
    given(item, "score")
    return {
        "kind": "rating",
        "group_id": group_id(messages),
        "messages": messages,
        "response": text(item, key),
        "author": author(item, "model_name"),
        "rating": number(item, "score"),
        "scale": SCALE,
        "objective": objective,
        "annotator": person,
    }
