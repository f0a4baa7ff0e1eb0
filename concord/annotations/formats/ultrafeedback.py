"""UltraFeedback: answers of several models to one instruction, rated by GPT-4 on four aspects.

Reads https://huggingface.co/datasets/openbmb/UltraFeedback (arXiv 2310.01377, MIT). UltraFeedback
binarized has the keys of the format `trl`.

    {"instruction": "...",
     "completions": [{"model": "...", "response": "...",
                      "annotations": {"<aspect>": {"Rating": "4", "Rationale": "..."}, ...}}, ...]}

Other keys are ignored. This includes the system prompts under which the models answered, because
the annotator saw the instruction alone.

Makes:

- A rating on the scale 1 to 5 for each answer and each of `objectives`. The extra key `author`
  names the model. A rating of "N/A", n/a or null means that the aspect does not apply; it is left
  out and counted. Ratings may also be numbers, and `completions` JSON text, as in exports to CSV.
- With `domain`, a prompt for each instruction.

The instruction is the group.

Options:
- `objectives`: objective -> aspect. Default: all four aspects under the same names.
- `domain`: the domain of the prompts. Default: null, no prompts.
"""

from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations.fields import given, integer, items, mapping, text
from concord.annotations.interchange import content_hash
from concord.annotations.record import RowError
from concord.annotations.shapes import DOMAIN, Shape
from concord.stage.params import FORBID

Aspect = Literal["helpfulness", "honesty", "instruction_following", "truthfulness"]
ASPECTS: dict[str, Aspect] = {
    "helpfulness": "helpfulness",
    "honesty": "honesty",
    "instruction_following": "instruction_following",
    "truthfulness": "truthfulness",
}
"""Each aspect under the same name."""
SCALE = [1, 5]
SHAPES = (Shape(("instruction", "completions"), {"domain": DOMAIN}),)


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    objectives: Annotated[dict[str, Aspect], Field(min_length=1)] = field(
        default_factory=lambda: dict(ASPECTS)
    )
    """Objective -> aspect. By default, all four aspects under the same names."""
    domain: str | None = None
    """The domain of the prompts; null for no prompts."""


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any] | RowError]:
    """Yields the ratings of the answers, and the instruction as a prompt."""
    instruction, completions = text(row, "instruction"), items(row, "completions")
    prompt = {
        "group_id": content_hash(instruction),
        "messages": [{"role": "user", "content": instruction}],
    }
    if options.domain is not None:
        yield {"kind": "prompt", **prompt, "domain": options.domain, "reference": None}
    if not completions:
        yield RowError("missing_key", "completions", "the list is empty")
    for item in completions:
        try:
            completion = mapping({"completions": item}, "completions")
            answer = {
                "kind": "rating",
                **prompt,
                "response": text(completion, "response"),
                "author": text(completion, "model"),
            }
            grades = mapping(completion, "annotations")
        except RowError as error:
            yield error
            continue
        yield from ratings(answer, grades, options)


def ratings(
    answer: dict[str, Any], grades: dict[str, Any], options: Options
) -> Iterator[dict[str, Any] | RowError]:
    """Yields the rating of an answer for each objective that applies."""
    for objective, aspect in options.objectives.items():
        try:
            rating = grade(mapping(grades, aspect), aspect)
        except RowError as error:
            yield error
            continue
        yield {
            **answer,
            "rating": rating,
            "scale": SCALE,
            "objective": objective,
            "annotator": "ultrafeedback",
        }


def grade(annotation: dict[str, Any], aspect: str) -> int:
    """The rating as a number. Raises RowError, also if the aspect does not apply.

    Examples:
        >>> grade({"Rating": "4"}, "honesty"), grade({"Rating": 4.0}, "honesty")
        (4, 4)
    """
    given(annotation, "Rating", aspect)
    return integer(annotation, "Rating", aspect)
