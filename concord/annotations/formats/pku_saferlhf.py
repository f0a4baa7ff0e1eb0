"""PKU-SafeRLHF and BeaverTails: which answer is better, which is safer, and which are safe.

Reads https://huggingface.co/datasets/PKU-Alignment/PKU-SafeRLHF (arXiv 2406.15513) and
https://huggingface.co/datasets/PKU-Alignment/BeaverTails (arXiv 2307.04657), both CC-BY-NC-4.0:

    {"prompt": "...", "response_0": "...", "response_1": "...", "is_response_0_safe": true,
     "is_response_1_safe": false, "better_response_id": 1, "safer_response_id": 0}
    {"prompt": "...", "response": "...", "is_safe": false, "category": {...}}

Makes:

- From a pair, a comparison of `better` and one of `safer`, and a binary label of `safe` for each
  answer. The two preferences are separate judgements of the same pair and often conflict. An id of
  -1, or an empty one, is a missing label.
- From a single answer, a binary label of `safe`.

The models `prompt_source`, `response_0_source` and `response_1_source`, where given, are read as
the authors. Harm categories and severity levels are not read. The prompt is the group.

Options:
- `better`, `safer`, `safe`: the names of the objectives; null leaves one out. Default: helpful,
  harmless, safe.
"""

from collections.abc import Iterator
from typing import Any

from pydantic.dataclasses import dataclass

from concord.annotations.dialogues import spoken
from concord.annotations.fields import given, integer, shorten, text, truth
from concord.annotations.judgements import author, comparison, yes_or_no
from concord.annotations.record import RowError
from concord.annotations.shapes import Shape
from concord.stage.params import FORBID

ANNOTATOR = "pku"
SIDES = {0: "a", 1: "b"}
SHAPES = (
    Shape(("prompt", "response_0", "response_1", "better_response_id")),
    Shape(("prompt", "response_0", "response_1", "safer_response_id")),
    Shape(("prompt", "response", "is_safe")),
)


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    better: str | None = "helpful"
    """The objective of the better answer, regardless of safety; null for none."""
    safer: str | None = "harmless"
    """The objective of the safer answer; null for none."""
    safe: str | None = "safe"
    """The objective of the labels safe and unsafe; null for none."""


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any] | RowError]:
    """Yields the comparisons and labels of a row."""
    messages = spoken(row, "prompt")
    if row.get("response_0") is None and row.get("response_1") is None:
        if options.safe is not None:
            yield safety(row, messages, "response", "is_safe", options.safe)
        return
    answers = (text(row, "response_0"), text(row, "response_1"))
    authors = [author(row, f"response_{index}_source") for index in SIDES]
    for objective, key in (
        (options.better, "better_response_id"),
        (options.safer, "safer_response_id"),
    ):
        if objective is not None:
            try:
                yield comparison(messages, answers, side(row, key), objective, ANNOTATOR, authors)
            except RowError as error:
                yield error
    if options.safe is not None:
        for index in SIDES:
            key = f"is_response_{index}_safe"
            yield safety(row, messages, f"response_{index}", key, options.safe)


def side(row: dict[str, Any], key: str) -> str:
    """The side that the id under `key` prefers. Raises RowError."""
    given(row, key)
    preferred = integer(row, key)
    if preferred == -1:
        raise RowError("no_label", key, "is -1: no answer was chosen")
    if preferred not in SIDES:
        raise RowError("off_scale", key, f"is {shorten(row[key])}; allowed: 0, 1, or -1 for none")
    return SIDES[preferred]


def safety(
    row: dict[str, Any], messages: list[dict[str, str]], answer: str, key: str, objective: str
) -> dict[str, Any] | RowError:
    """The label of one answer, or why it has none."""
    try:
        given(row, key)
        return yes_or_no(messages, text(row, answer), truth(row, key), objective, ANNOTATOR)
    except RowError as error:
        return error
