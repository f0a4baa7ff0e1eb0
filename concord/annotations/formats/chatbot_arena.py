"""Chatbot Arena: two models answer a person, who says which one wins.

Reads https://huggingface.co/datasets/lmsys/chatbot_arena_conversations (prompts CC-BY-4.0, answers
CC-BY-NC-4.0), the battles of https://huggingface.co/datasets/lmarena-ai/arena-human-preference-100k
and the pairs of https://huggingface.co/datasets/lmarena-ai/arena-human-preference-55k:

    {"conversation_a": [{"role", "content"}, ...], "conversation_b": [...], "model_a": "...",
     "model_b": "...", "winner": "model_a", "judge": "arena_user_1"}
    {"prompt": "[\\"...\\"]", "response_a": "[\\"...\\"]", "response_b": "[\\"...\\"]",
     "winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0}

Makes a comparison from each row. `winner` is model_a, model_b, tie, both_bad or tie (bothbad). Ties
of both kinds are left out and counted. The annotator is `judge`, or `judge_hash` and
`evaluation_session_id`, as the releases of 100,000 and 140,000 battles call it. Prompts and answers
of the second form may be JSON lists with one text for each turn.

The whole conversations were compared. If they have several turns and the earlier answers differ,
the last answers belong to different prompts, so the row is rejected (`different_prompts`). The
first user turn is the group.

Options:
- `objective`: the objective of the comparisons. Default: overall.
- `annotator`: who judged, if the rows do not say. Default: arena.
"""

import json
from collections.abc import Iterator
from typing import Any

from pydantic.dataclasses import dataclass

from concord.annotations.dialogues import Turn, turns
from concord.annotations.fields import given, is_empty, shorten, text, truth
from concord.annotations.judgements import author, comparison
from concord.annotations.meanings import SIDES, WORDS, side
from concord.annotations.record import RowError
from concord.annotations.shapes import Shape
from concord.stage.params import FORBID

JUDGES = ("judge", "judge_hash", "evaluation_session_id")
"""Keys that say who judged, in different releases."""
FLAGS = {"winner_model_a": "a", "winner_model_b": "b", "winner_tie": "tie"}
SHAPES = (
    Shape(("conversation_a", "conversation_b", "winner")),
    Shape(("prompt", "response_a", "response_b", "winner")),
    Shape(("prompt", "response_a", "response_b", "winner_model_a", "winner_model_b")),
)


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    objective: str = "overall"
    """The objective of the comparisons."""
    annotator: str = "arena"
    """Who judged, if the rows do not say."""


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """Yields the comparison of a row."""
    one, other = conversation(row, "a"), conversation(row, "b")
    for name, dialogue in (("a", one), ("b", other)):
        if not dialogue or dialogue[-1]["role"] != "assistant":
            column = f"conversation_{name}"
            raise RowError("roles_do_not_alternate", column, "does not end with an assistant turn")
    if one[:-1] != other[:-1]:
        detail = "the conversations differ before the last answer"
        raise RowError("different_prompts", "conversation_b", detail)
    yield comparison(
        one[:-1],
        (one[-1]["content"], other[-1]["content"]),
        winner(row),
        options.objective,
        judge(row) or options.annotator,
        [author(row, "model_a"), author(row, "model_b")],
    )


def judge(row: dict[str, Any]) -> str | None:
    """Who judged, if the row says so."""
    key = next((key for key in JUDGES if not is_empty(row.get(key))), None)
    return None if key is None else str(row[key])


def conversation(row: dict[str, Any], name: str) -> list[Turn]:
    """The conversation with one of the two models."""
    if row.get(f"conversation_{name}") is not None:
        return turns(row, f"conversation_{name}")
    asked, answered = texts_of(row, "prompt"), texts_of(row, f"response_{name}")
    if len(asked) != len(answered):
        detail = f"has {len(answered)} answers to {len(asked)} prompts"
        raise RowError("wrong_type", f"response_{name}", detail)
    dialogue: list[Turn] = []
    for question, answer in zip(asked, answered, strict=True):
        dialogue.append({"role": "user", "content": question})
        dialogue.append({"role": "assistant", "content": answer})
    return dialogue


def texts_of(row: dict[str, Any], key: str) -> list[str]:
    """A text, or a JSON list of texts, as a list of texts."""
    value = row.get(key)
    if isinstance(value, str) and value.lstrip().startswith('["'):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RowError("not_json", key, f"is no JSON list: {shorten(value)}") from None
    if isinstance(value, list):
        return [text({key: item}, key) for item in value]
    return [text(row, key)]


def winner(row: dict[str, Any]) -> str:
    """Which model won: a, b or tie. Raises RowError."""
    if any(key in row for key in FLAGS) and "winner" not in row:
        named = [
            won for key, won in FLAGS.items() if not is_empty(row.get(key)) and truth(row, key)
        ]
        if len(named) != 1:
            detail = f"exactly one of {', '.join(FLAGS)} must be 1, but {len(named)} are"
            raise RowError("off_scale", "winner_model_a", detail)
        return named[0]
    given(row, "winner")
    said = side(text(row, "winner"))
    if said not in SIDES:
        detail = f"is {shorten(said)}; allowed: {', '.join(WORDS)}"
        raise RowError("off_scale", "winner", detail)
    return said
