r"""TRL: pairs of answers of which one is preferred, or single answers labelled good or bad.

Reads the data sets that TRL trains on (https://huggingface.co/docs/trl/dataset_formats). Other keys
are ignored:

    {"prompt": "...", "chosen": "...", "rejected": "..."}
    {"prompt": [{"role", "content"}, ...], "chosen": [...], "rejected": [...]}
    {"chosen": ..., "rejected": ...}
    {"prompt": ..., "completion": ..., "label": true}

The first form is called standard (text), the second conversational (turns). In the third, the
prompt is implicit. The fourth is unpaired, as for KTO. In the last two, the values are text or
turns.

Makes:

- A comparison from a pair. Its margin is `margin`, or else `score_chosen` minus `score_rejected`,
  if the row has them. A pair whose rejected answer has the higher score is rejected.
- A binary label from an unpaired answer.

An implicit prompt is what `chosen` and `rejected` have in common. For turns, it is all but the last
turn. For text, it is the common prefix without a final space, as in TRL. Answers that begin with
the same words lose them, so an explicit prompt is better.

If the prompt is text and `chosen` and `rejected` are turns, as in UltraFeedback binarized, they
contain the whole dialogue unless they begin with the assistant. The first user turn is the group.

Options:
- `objective`: the objective of the labels. The files do not name one. Required.
- `annotator`: who judged the answers. Default: trl.
"""

from collections.abc import Iterator
from typing import Any

from pydantic.dataclasses import dataclass

from concord.annotations.dialogues import Turn, group_id, turns
from concord.annotations.fields import boolean, number, required, text
from concord.annotations.record import RowError
from concord.stage.params import FORBID


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    objective: str
    """The objective of the labels. The files do not name one."""
    annotator: str = "trl"
    """Who judged the answers."""


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """Yields the comparison or the label of a row."""
    annotation = comparison(row) if row.get("completion") is None else label(row)
    yield {
        **annotation,
        "group_id": group_id(annotation["messages"]),
        "objective": options.objective,
        "annotator": options.annotator,
    }


def comparison(row: dict[str, Any]) -> dict[str, Any]:
    """The comparison of a pair, with its margin."""
    if row.get("prompt") is None and isinstance(row.get("chosen"), str):
        row = {**row, **split_prompt(text(row, "chosen"), text(row, "rejected"))}
    chosen, rejected = dialogue(row, "chosen"), dialogue(row, "rejected")
    if chosen[:-1] != rejected[:-1]:
        raise RowError(
            "different_prompts", "rejected", "the dialogues differ before the assistant's last turn"
        )
    return {
        "kind": "comparison",
        "messages": chosen[:-1],
        "a": chosen[-1]["content"],
        "b": rejected[-1]["content"],
        "preferred": "a",
        "margin": margin(row),
    }


def label(row: dict[str, Any]) -> dict[str, Any]:
    """The label of an unpaired answer, whose prompt must be explicit."""
    required(row, "prompt")
    messages, good = dialogue(row, "completion"), boolean(row, "label")
    return {
        "kind": "binary",
        "messages": messages[:-1],
        "response": messages[-1]["content"],
        "label": int(good),
    }


def split_prompt(chosen: str, rejected: str) -> dict[str, str]:
    """Splits two texts into their common prompt and two answers.

    Examples:
        >>> split_prompt("The sky is blue.", "The sky is green.")
        {'prompt': 'The sky is', 'chosen': ' blue.', 'rejected': ' green.'}
    """
    if chosen == rejected:
        raise RowError("identical_responses", "rejected", "is the same text as `chosen`")
    pairs = enumerate(zip(chosen, rejected, strict=False))
    end = next((index for index, (a, b) in pairs if a != b), min(len(chosen), len(rejected)))
    if chosen[:end].endswith(" "):
        end -= 1
    return {"prompt": chosen[:end], "chosen": chosen[end:], "rejected": rejected[end:]}


def dialogue(row: dict[str, Any], key: str) -> list[Turn]:
    """The prompt and the answer under `key` as turns. The last turn is the assistant's."""
    prompt = row.get("prompt")
    messages = turns(row, "prompt") if isinstance(prompt, list) else []
    if prompt is not None and not isinstance(prompt, list):
        messages = [{"role": "user", "content": text(row, "prompt")}]
    if not isinstance(row.get(key), list):
        return [*messages, {"role": "assistant", "content": text(row, key)}]
    answer = turns(row, key)
    if not answer or answer[-1]["role"] != "assistant":
        raise RowError("roles_do_not_alternate", key, "does not end with an assistant turn")
    is_whole_dialogue = isinstance(prompt, str) and answer[0]["role"] != "assistant"
    return answer if is_whole_dialogue else [*messages, *answer]


def margin(row: dict[str, Any]) -> float | None:
    """By how much the chosen answer is preferred, or None if the row does not say."""
    if row.get("margin") is not None:
        column, difference = "margin", number(row, "margin")
    elif row.get("score_chosen") is None and row.get("score_rejected") is None:
        return None
    else:
        column = "score_rejected"
        difference = number(row, "score_chosen") - number(row, "score_rejected")
    if difference < 0:
        raise RowError("contradiction", column, f"the rejected answer is better by {-difference:g}")
    return difference
