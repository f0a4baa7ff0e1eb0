r"""TRL: pairs of answers of which one is preferred, single answers labelled good or bad, and steps.

Reads the data sets that TRL trains on (https://huggingface.co/docs/trl/dataset_formats):

    {"prompt": "...", "chosen": "...", "rejected": "..."}
    {"prompt": [{"role", "content"}, ...], "chosen": [...], "rejected": [...]}
    {"chosen": ..., "rejected": ...}
    {"prompt": ..., "completion": ..., "label": true}
    {"prompt": ..., "completions": ["...", ...], "labels": [true, false, ...]}
    {"prompt": ..., "completion": ...}, {"messages": [...]}, {"text": "..."}, {"prompt": ...}

The first form is called standard (text), the second conversational (turns). In the third, the
prompt is implicit. The fourth is unpaired, as for KTO; its label may also be 0 or 1, or text. The
fifth is stepwise supervision. The last ones are demonstrations and prompts, and need `domain`.
Values are text or turns. A `text` for language modelling is a demonstration if it is a transcript
or a rendered template; plain text has no prompt and no answer, so it is rejected. Skywork-Reward-
Preference, UltraFeedback binarized and the preference mixtures of Tulu 3 have these keys; see their
pages for their licences.

Makes:

- A comparison from a pair. Its margin is `margin`, or else `score_chosen` minus `score_rejected`
  (or `chosen_score`, `chosen_rating`, `chosen-rating` and the like), if the row has them. Equal
  scores are a tie, which is left out. A pair whose rejected answer has
  the higher score is rejected. The row's `annotator`, if it has one, replaces the option.
- A binary label from an unpaired answer.
- Step labels from stepwise supervision.
- A demonstration or a prompt from the other rows, with `domain`.

An implicit prompt is what `chosen` and `rejected` have in common. For turns, it is all but the last
turn. For text, it is the common prefix without a final space, as in TRL. Answers that begin with
the same words lose them, so an explicit prompt is better. Texts that are transcripts ("Human:",
"Assistant:") or were rendered by a chat template are split into turns.

If the prompt is text and `chosen` and `rejected` are turns, as in UltraFeedback binarized, they
contain the whole dialogue unless they begin with the assistant. A system prompt, a history or
Alpaca's `input` in a column of its own is added to the prompt (`concord.annotations.context`). The
first user turn is the group.

Options:
- `objective`: the objective of the labels. The files do not name one. Required.
- `annotator`: who judged the answers. Default: trl.
- `label_kind`: how the labels of steps were obtained. Default: unknown.
- `domain`: the domain of demonstrations and prompts. Default: null; such rows are rejected.
- `tools`: what becomes of rows with tool calls: `reject`, or `text`, which keeps these turns as
  text. Default: reject.
- `ignore`: columns with context that is dropped, such as tools. Default: none.
"""

from collections.abc import Iterator
from dataclasses import field
from typing import Any

from pydantic.dataclasses import dataclass

from concord.annotations import solutions
from concord.annotations.context import with_context
from concord.annotations.dialogues import Tools, Turn, answer_turns, group_id, spoken
from concord.annotations.fields import (
    given,
    is_empty,
    items,
    number,
    person,
    required,
    text,
    texts,
    truth,
)
from concord.annotations.meanings import plain
from concord.annotations.record import RowError
from concord.annotations.shapes import DOMAIN, OBJECTIVE, Row, Shape
from concord.annotations.transcripts import transcript
from concord.stage.params import FORBID

ANSWERS = {"response", "answer", "completion", "chosen", "rejected", "output", "generation"}
"""Words in the names of columns with answers."""


def is_unanswered(row: Row) -> bool:
    """Whether a row has a prompt and no answer."""
    words = {word for name in row for word in plain(name).split("_")}
    return words.isdisjoint({*ANSWERS, *(f"{word}s" for word in ANSWERS), "a", "b", "preferred"})


LABELLED = {"objective": OBJECTIVE}
UNLABELLED = {**LABELLED, "domain": DOMAIN}
JUDGED = ("annotator", "margin")
SCORES = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen_rating", "rejected_rating"),
    ("chosen-rating", "rejected-rating"),
)
"""Names of the scores of a pair in published data sets."""
SHAPES = (
    Shape(("prompt", "chosen", "rejected"), LABELLED, also=JUDGED),
    Shape(("chosen", "rejected"), LABELLED, also=JUDGED),
    Shape(("prompt", "completion", "label"), LABELLED, also=("annotator",)),
    Shape(("prompt", "completions", "labels"), LABELLED),
    Shape(("prompt", "completion"), UNLABELLED),
    Shape(("text",), UNLABELLED),
    Shape(("prompt",), UNLABELLED, is_unanswered),
)


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    objective: str
    """The objective of the labels. The files do not name one."""
    annotator: str = "trl"
    """Who judged the answers, if the rows have no key `annotator`."""
    label_kind: str = "unknown"
    """How the labels of steps were obtained."""
    domain: str | None = None
    """The domain of demonstrations and prompts; null rejects such rows."""
    tools: Tools = "reject"
    """Whether rows with tool calls are rejected, or kept with these turns as text."""
    ignore: list[str] = field(default_factory=list)
    """Columns with context that is dropped."""


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """Yields the annotation of a row."""
    annotation = {**convert(row, options), "objective": options.objective}
    messages = with_context(row, annotation["messages"], options.ignore, options.tools)
    annotator = options.annotator if is_empty(row.get("annotator")) else person(row)
    yield {
        **annotation,
        "messages": messages,
        "group_id": group_id(messages),
        "annotator": annotator,
    }


def convert(row: dict[str, Any], options: Options) -> dict[str, Any]:
    """The annotation of a row, without its objective, annotator and group."""
    if row.get("completions") is not None:
        return stepwise(row, options)
    is_pair = row.get("chosen") is not None or row.get("rejected") is not None
    if is_pair or options.domain is None:
        return (
            label(row, options) if row.get("completion") is not None else comparison(row, options)
        )
    if row.get("completion") is not None and row.get("label") is not None:
        return label(row, options)
    if row.get("prompt") is None and row.get("text") is not None:
        row = {"messages": language_turns(row)}
    key = "completion" if row.get("completion") is not None else "messages"
    if row.get(key) is not None:
        messages = dialogue(row, key, options)
        answer = {"response": messages[-1]["content"], "author": "unknown"}
        shared = {"messages": messages[:-1], "domain": options.domain}
        return {"kind": "demonstration", **shared, **answer}
    prompt = {"messages": spoken(row, "prompt", options.tools), "reference": None}
    return {"kind": "prompt", **prompt, "domain": options.domain}


def comparison(row: dict[str, Any], options: Options) -> dict[str, Any]:
    """The comparison of a pair, with its margin."""
    implicit = row.get("prompt") is None and isinstance(row.get("chosen"), str)
    if implicit and transcript(text(row, "chosen"), "chosen") is None:
        row = row | split_prompt(text(row, "chosen"), text(row, "rejected"))
    chosen, rejected = dialogue(row, "chosen", options), dialogue(row, "rejected", options)
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


def label(row: dict[str, Any], options: Options) -> dict[str, Any]:
    """The label of an unpaired answer, whose prompt must be explicit."""
    required(row, "prompt")
    given(row, "label")
    messages, good = dialogue(row, "completion", options), truth(row, "label")
    return {
        "kind": "binary",
        "messages": messages[:-1],
        "response": messages[-1]["content"],
        "label": int(good),
    }


def stepwise(row: dict[str, Any], options: Options) -> dict[str, Any]:
    """The labels of the steps of an answer."""
    steps = texts(row, "completions")
    labels = [
        None if is_empty(item) else float(truth({"labels": item}, "labels"))
        for item in items(row, "labels")
    ]
    prompt = {"messages": spoken(row, "prompt", options.tools)}
    return solutions.labelled_steps(prompt, steps, labels, options.objective, options.label_kind)


def language_turns(row: dict[str, Any]) -> list[Turn]:
    """The turns of a text for language modelling. Raises RowError if it is no dialogue."""
    turns = transcript(text(row, "text"), "text")
    if turns is None:
        detail = "is plain text, without a prompt and an answer; give `prompt` and `completion`"
        raise RowError("missing_key", "text", detail)
    return turns


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


def dialogue(row: dict[str, Any], key: str, options: Options) -> list[Turn]:
    """The prompt and the answer under `key` as turns. The last turn is the assistant's."""
    prompt = row.get("prompt")
    messages = [] if prompt is None else spoken(row, "prompt", options.tools)
    answer = answer_turns(row, key, options.tools)
    if not answer or answer[-1]["role"] != "assistant":
        raise RowError("roles_do_not_alternate", key, "does not end with an assistant turn")
    is_whole_dialogue = isinstance(prompt, str) and answer[0]["role"] != "assistant"
    return answer if is_whole_dialogue else [*messages, *answer]


def margin(row: dict[str, Any]) -> float | None:
    """By how much the chosen answer is preferred, or None if the row does not say."""
    if not is_empty(row.get("margin")):
        column, difference = "margin", number(row, "margin")
    else:
        pairs = (pair for pair in SCORES if not all(is_empty(row.get(key)) for key in pair))
        chosen, column = next(pairs, ("", ""))
        if not column:
            return None
        difference = number(row, chosen) - number(row, column)
    if difference < 0:
        raise RowError("contradiction", column, f"the rejected answer is better by {-difference:g}")
    return difference
