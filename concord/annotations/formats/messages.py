"""Dialogues of chat turns, as OpenAI's fine-tuning, ShareGPT, ms-swift and Tulu mixtures have them.

Reads any of these keys:

    {"messages": [{"role": "user", "content": "..."}, ..., {"role": "assistant", ...}]}
    {"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}
    {"input": {"messages": [...]}, "preferred_output": [...], "non_preferred_output": [...]}
    {"conversations": [...], "chosen": {"from": "gpt", "value": "..."}, "rejected": {...}}
    {"messages": [..., {"role": "assistant", ...}], "rejected_response": "..."}
    {"query": "...", "response": "...", "rejected_response": "...", "history": [[..., ...]]}

They are documented at https://platform.openai.com/docs/guides/fine-tuning,
https://llamafactory.readthedocs.io and https://swift.readthedocs.io. The mixtures of Tulu 3
(https://huggingface.co/datasets/allenai/tulu-3-sft-mixture, ODC-BY) have the first form.

Makes a demonstration from a dialogue, and a comparison from a pair. The roles human, gpt, model and
developer are read as user, assistant, assistant and system. Contents may be lists of text parts. A
system prompt or a history in a column of its own is added. A turn of the assistant with weight 0 is
not imitated: a dialogue that ends with one is left out. The first user turn is the group.

Options:
- `domain`: the domain of the demonstrations. Default: null; dialogues without a pair are rejected.
- `objective`: the objective of the comparisons. Default: null; rows with pairs are rejected.
- `annotator`: who judged the pairs. Default: unknown.
- `tools`: what becomes of rows with tool calls: `reject`, or `text`, which keeps these turns as
  text. Default: reject.
- `ignore`: columns with context that is dropped, such as tools. Default: none.
"""

from collections.abc import Iterator
from dataclasses import field
from typing import Any

from pydantic.dataclasses import dataclass

from concord.annotations.context import with_context
from concord.annotations.dialogues import Tools, Turn, answer_turns, spoken, turn_list
from concord.annotations.fields import mapping
from concord.annotations.judgements import comparison, demonstration
from concord.annotations.record import RowError
from concord.annotations.shapes import DOMAIN, OBJECTIVE, Shape
from concord.stage.params import FORBID

PAIRS = (
    ("preferred_output", "non_preferred_output"),
    ("chosen", "rejected"),
    ("response", "rejected_response"),
)
"""The keys of the preferred and of the other answer."""
PROMPTS = ("messages", "conversations", "conversation", "query", "prompt")
DIALOGUE, PAIR = {"domain": DOMAIN}, {"objective": OBJECTIVE}
SHAPES = (
    Shape(("messages",), DIALOGUE),
    Shape(("conversations",), DIALOGUE),
    Shape(("query", "response"), DIALOGUE),
    Shape(("input.messages", "preferred_output", "non_preferred_output"), PAIR),
    Shape(("conversations", "chosen", "rejected"), PAIR),
    Shape(("messages", "chosen", "rejected"), PAIR),
    Shape(("messages", "rejected_response"), PAIR),
    Shape(("query", "response", "rejected_response"), PAIR),
)


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    domain: str | None = None
    """The domain of the demonstrations; null rejects dialogues without a pair."""
    objective: str | None = None
    """The objective of the comparisons; null rejects rows with pairs."""
    annotator: str = "unknown"
    """Who judged the pairs."""
    tools: Tools = "reject"
    """Whether rows with tool calls are rejected, or kept with these turns as text."""
    ignore: list[str] = field(default_factory=list)
    """Columns with context that is dropped."""

    def __post_init__(self) -> None:
        if self.domain is None and self.objective is None:
            raise ValueError(
                "the options name neither a domain nor an objective; give `domain` for dialogues, "
                "or `objective` for pairs"
            )


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """Yields the demonstration or the comparison of a row."""
    if isinstance(row.get("input"), dict):
        asked = mapping(row, "input")
        row = row | {key: asked[key] for key in ("messages", "tools") if key in asked}
        row.pop("input")
    dialogue = prompt(row, options)
    pair = next((pair for pair in PAIRS if row.get(pair[1]) is not None), None)
    if pair is None:
        yield imitated(row, dialogue, options)
    else:
        yield compared(row, dialogue, pair, options)


def prompt(row: dict[str, Any], options: Options) -> list[Turn]:
    """The dialogue under the first of `PROMPTS`, with its context."""
    key = next((key for key in PROMPTS if row.get(key) is not None), "messages")
    return with_context(row, spoken(row, key, options.tools), options.ignore, options.tools)


def imitated(row: dict[str, Any], dialogue: list[Turn], options: Options) -> dict[str, Any]:
    """The demonstration of a dialogue that ends with the answer."""
    if options.domain is None:
        detail = "there is no pair of answers, and no option `domain` for a dialogue"
        raise RowError("missing_key", "chosen", detail)
    if row.get("response") is not None:
        dialogue = [*dialogue, *answer_turns(row, "response", options.tools)]
    turns = turn_list(row, "messages") if row.get("messages") else []
    last = turns[-1] if isinstance(turns, list) and turns else None
    if isinstance(last, dict) and last.get("weight") == 0:
        raise RowError("left_out", "messages", "the last turn has weight 0, so it is not imitated")
    return demonstration(dialogue, options.domain, "messages")


def compared(
    row: dict[str, Any], dialogue: list[Turn], pair: tuple[str, str], options: Options
) -> dict[str, Any]:
    """The comparison of the two answers under the keys `pair`."""
    if options.objective is None:
        detail = "the row has a pair of answers, but there is no option `objective`"
        raise RowError("missing_key", pair[1], detail)
    if row.get(pair[0]) is None and dialogue and dialogue[-1]["role"] == "assistant":
        dialogue, chosen = dialogue[:-1], dialogue[-1:]
    else:
        chosen = answer_turns(row, pair[0], options.tools)
    rejected = answer_turns(row, pair[1], options.tools)
    for key, answer in zip(pair, (chosen, rejected), strict=True):
        if len(answer) != 1 or answer[0]["role"] != "assistant":
            raise RowError("roles_do_not_alternate", key, "must be one turn of the assistant")
    answers = (chosen[0]["content"], rejected[0]["content"])
    return comparison(dialogue, answers, "a", options.objective, options.annotator)
