"""MultiPref: two answers compared by four people on helpfulness, truthfulness and harmlessness.

Reads https://huggingface.co/datasets/allenai/multipref (arXiv 2410.19133, ODC-BY):

    {"text": "<prompt>", "completion_a": "...", "completion_b": "...", "model_a": "...",
     "model_b": "...",
     "normal_worker_annotations": [{"evaluator": "...", "overall_pref": "A-is-clearly-better",
                                    "helpful_pref": "...", "truthful_pref": "...",
                                    "harmless_pref": "..."}, ...],
     "expert_worker_annotations": [...]}

Makes a comparison for each person and each of `objectives`. The preference is A or B, clearly
(margin 2) or slightly better (margin 1), or Tie, which is left out and counted. Each person is an
annotator, so people who disagree are both kept. The prompt is the group.

Options:
- `objectives`: objective -> aspect (overall, helpful, truthful, harmless). Default: helpful,
  truthful and harmless under the same names.
- `workers`: the kinds of people to read. Default: normal and expert.
"""

import re
from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations.dialogues import spoken
from concord.annotations.fields import given, is_empty, mappings, shorten, text
from concord.annotations.judgements import author, comparison
from concord.annotations.record import RowError
from concord.annotations.shapes import Shape
from concord.stage.params import FORBID

Aspect = Literal["overall", "helpful", "truthful", "harmless"]
Worker = Literal["normal", "expert"]
ASPECTS: dict[str, Aspect] = {
    "helpful": "helpful",
    "truthful": "truthful",
    "harmless": "harmless",
}
"""The aspects that are read by default, under the same names."""
PREFERENCE = re.compile(r"(a|b)-is-(clearly|slightly)-better")
STRENGTHS = {"slightly": 1.0, "clearly": 2.0}
SHAPES = (Shape(("text", "completion_a", "completion_b", "normal_worker_annotations")),)


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    objectives: Annotated[dict[str, Aspect], Field(min_length=1)] = field(
        default_factory=lambda: dict(ASPECTS)
    )
    """Objective -> aspect. By default helpful, truthful and harmless under the same names."""
    workers: Annotated[list[Worker], Field(min_length=1)] = field(
        default_factory=lambda: ["normal", "expert"]
    )
    """The kinds of people to read."""


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any] | RowError]:
    """Yields the comparisons of a row."""
    messages = spoken(row, "text")
    answers = (text(row, "completion_a"), text(row, "completion_b"))
    authors = [author(row, "model_a"), author(row, "model_b")]
    for worker in options.workers:
        key = f"{worker}_worker_annotations"
        people = [] if is_empty(row.get(key)) else mappings(row, key)
        if not people:
            yield RowError("no_label", key, "is empty: nobody of this kind judged the pair")
        for person in people:
            for objective, aspect in options.objectives.items():
                try:
                    preferred, margin = preference(person, f"{aspect}_pref")
                    name = f"{worker}/{text(person, 'evaluator')}"
                except RowError as error:
                    yield error
                    continue
                yield comparison(messages, answers, preferred, objective, name, authors, margin)


def preference(person: dict[str, Any], key: str) -> tuple[str, float | None]:
    """Which answer a person prefers, and how strongly. Raises RowError.

    Examples:
        >>> preference({"helpful_pref": "B-is-clearly-better"}, "helpful_pref")
        ('b', 2.0)
    """
    given(person, key)
    said = text(person, key).strip().casefold()
    if said == "tie":
        return "tie", None
    parts = PREFERENCE.fullmatch(said)
    if parts is None:
        detail = (
            f"is {shorten(person[key])}; allowed: A-is-clearly-better, B-is-slightly-better, Tie"
        )
        raise RowError("off_scale", key, detail)
    return parts[1], STRENGTHS[parts[2]]
