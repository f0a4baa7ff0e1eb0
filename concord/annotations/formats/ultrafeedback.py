"""UltraFeedback: answers of several models to one instruction, each rated by GPT-4 on four aspects.

    {"instruction": "...",
     "completions": [{"model": "...", "response": "...",
                      "annotations": {"<aspect>": {"Rating": "4", "Rationale": "..."}, ...}}, ...]}

(https://huggingface.co/datasets/openbmb/UltraFeedback; other keys are ignored, the system prompts among them under
which the models answered: who rated was shown the instruction alone.) A rating becomes one of the scale 1 to 5, of the
objective that the aspect is mapped to; the model stands in the row's extra key `author`. A rating "N/A" says that the
aspect does not apply: it is no label, and nothing comes of it. The instruction is the group.

Options: `objectives` (ours -> the aspect; all four under their own names), `domain` (makes the instruction a prompt of
that domain as well; none).
"""

from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations.fields import items, mapping, short, text, value
from concord.annotations.interchange import content_hash
from concord.annotations.record import RowError
from concord.stage.params import FORBID

Aspect = Literal["helpfulness", "honesty", "instruction_following", "truthfulness"]
OWN: dict[str, Aspect] = {
    "helpfulness": "helpfulness",
    "honesty": "honesty",
    "instruction_following": "instruction_following",
    "truthfulness": "truthfulness",
}
"""Each aspect under its own name."""
SCALE = [1, 5]
DOES_NOT_APPLY = "N/A"


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    objectives: Annotated[dict[str, Aspect], Field(min_length=1)] = field(
        default_factory=lambda: dict(OWN)
    )
    """Our objective -> the aspect that it is."""
    domain: str | None = None
    """Domain of the prompts; null for no prompts."""


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any] | RowError]:
    """The ratings of an instruction's answers, and the instruction."""
    instruction, completions = text(row, "instruction"), items(row, "completions")
    shared = {
        "group_id": content_hash(instruction),
        "messages": [{"role": "user", "content": instruction}],
    }
    if options.domain is not None:
        yield {"kind": "prompt", **shared, "domain": options.domain, "reference": None}
    if not completions:
        yield RowError("missing_key", "completions", "holds no answer")
    for completion in completions:
        try:
            answer = mapping({"completions": completion}, "completions")
            told = {"response": text(answer, "response"), "author": text(answer, "model")}
            given = mapping(answer, "annotations")
        except RowError as error:
            yield error
            continue
        yield from ratings({"kind": "rating", **shared, **told}, given, options)


def ratings(
    answer: dict[str, Any], given: dict[str, Any], options: Options
) -> Iterator[dict[str, Any] | RowError]:
    """A row for each objective on which an answer was rated."""
    for objective, aspect in options.objectives.items():
        try:
            rating = grade(mapping(given, aspect), aspect)
        except RowError as error:
            yield error
            continue
        if rating is not None:
            judged = {"objective": objective, "annotator": "ultrafeedback"}
            yield {**answer, "rating": rating, "scale": SCALE, **judged}


def grade(annotation: dict[str, Any], aspect: str) -> int | None:
    """The rating as a number, or None where the aspect does not apply."""
    found = value(annotation, "Rating", aspect)
    if found == DOES_NOT_APPLY:
        return None
    if not isinstance(found, str) or not (found.isascii() and found.isdigit()):
        raise RowError(
            "wrong_type",
            aspect,
            f"must be rated by a whole number as text or N/A, but is {short(found)}",
        )
    return int(found)
