r"""TRL's preference data: of two answers to a prompt the better one, or an answer that is right or not.

    {"prompt": "...", "chosen": "...", "rejected": "..."}                          standard: text
    {"prompt": [{"role", "content"}, ...], "chosen": [...], "rejected": [...]}     conversational: lists of turns
    {"chosen": ..., "rejected": ...}                                               of either kind, the prompt implicit
    {"prompt": ..., "completion": ..., "label": true}                              unpaired, as for KTO

(https://huggingface.co/docs/trl/dataset_formats; other keys are ignored.) A pair becomes a comparison, an unpaired
answer a binary label. `margin`, or else `score_chosen` less `score_rejected`, is the comparison's margin where it is
given; a pair whose scores prefer the rejected answer is rejected.

An implicit prompt is what the two have in common: in text all the characters before they differ, but for a last space
(as TRL does it, so that answers which begin alike lose their beginning: better give a prompt); of turns all but the
last. Where turns follow a prompt that is text, as in UltraFeedback binarized, they hold the whole dialogue unless they
begin with the assistant's. The user's first turn is the group.

Options: `objective` (what is judged; the files do not say), `annotator` (trl).
"""

from collections.abc import Iterator
from typing import Any

from pydantic.dataclasses import dataclass

from concord.annotations.dialogues import Turn, group, turns
from concord.annotations.fields import number, text, truth, value
from concord.annotations.record import RowError
from concord.stage.params import FORBID


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    objective: str
    """The objective that the answers were judged by."""
    annotator: str = "trl"
    """Who judged them."""


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """The comparison or the label of a row."""
    made = comparison(row) if row.get("completion") is None else label(row)
    judged = {"objective": options.objective, "annotator": options.annotator}
    yield {**made, "group_id": group(made["messages"]), **judged}


def comparison(row: dict[str, Any]) -> dict[str, Any]:
    """A pair, with its margin."""
    if row.get("prompt") is None and isinstance(row.get("chosen"), str):
        row = {**row, **divided(text(row, "chosen"), text(row, "rejected"))}
    chosen, rejected = dialogue(row, "chosen"), dialogue(row, "rejected")
    if chosen[:-1] != rejected[:-1]:
        raise RowError(
            "different_prompts", "rejected", "the dialogues differ before the assistant's last turn"
        )
    answers = {"a": chosen[-1]["content"], "b": rejected[-1]["content"], "preferred": "a"}
    return {"kind": "comparison", "messages": chosen[:-1], **answers, "margin": margin(row)}


def label(row: dict[str, Any]) -> dict[str, Any]:
    """An unpaired answer, whose prompt cannot be implicit."""
    value(row, "prompt")
    said, right = dialogue(row, "completion"), truth(row, "label")
    return {
        "kind": "binary",
        "messages": said[:-1],
        "response": said[-1]["content"],
        "label": int(right),
    }


def divided(chosen: str, rejected: str) -> dict[str, str]:
    """Two texts as a prompt and two answers."""
    if chosen == rejected:
        raise RowError("identical_responses", "rejected", "is the same text as `chosen`")
    pairs = enumerate(zip(chosen, rejected, strict=False))
    common = next(
        (place for place, (one, other) in pairs if one != other), min(len(chosen), len(rejected))
    )
    if chosen[:common].endswith(" "):
        common -= 1
    return {"prompt": chosen[:common], "chosen": chosen[common:], "rejected": rejected[common:]}


def dialogue(row: dict[str, Any], key: str) -> list[Turn]:
    """The prompt and the answer under `key`, as turns of which the last one is the assistant's."""
    prompt = row.get("prompt")
    asked = turns(row, "prompt") if isinstance(prompt, list) else []
    if prompt is not None and not isinstance(prompt, list):
        asked = [{"role": "user", "content": text(row, "prompt")}]
    if not isinstance(row.get(key), list):
        return [*asked, {"role": "assistant", "content": text(row, key)}]
    said = turns(row, key)
    if not said or said[-1]["role"] != "assistant":
        raise RowError("roles_do_not_alternate", key, "does not end with the assistant's turn")
    whole = isinstance(prompt, str) and said[0]["role"] != "assistant"
    return said if whole else [*asked, *said]


def margin(row: dict[str, Any]) -> float | None:
    """By how much the chosen answer is better, where the row says so."""
    if row.get("margin") is not None:
        column, found = "margin", number(row, "margin")
    elif row.get("score_chosen") is None and row.get("score_rejected") is None:
        return None
    else:
        column, found = (
            "score_rejected",
            number(row, "score_chosen") - number(row, "score_rejected"),
        )
    if found < 0:
        raise RowError(
            "contradiction", column, f"the rejected answer is the better one by {-found:g}"
        )
    return found
