"""HelpSteer: ratings of answers on five attributes (1 and 2), and preferences between answers (3).

Reads https://huggingface.co/datasets/nvidia/HelpSteer, .../HelpSteer2 and .../HelpSteer3. Other
keys are ignored:

    {"prompt": "...", "response": "...", "helpfulness": 3, "correctness": 4, "coherence": 4,
     "complexity": 2, "verbosity": 1}
    {"context": [{"role": "user", "content": "..."}, ...], "response1": "...",
     "response2": "...", "overall_preference": -2}

Makes:

- From a row of the first kind, a rating from 0 to 4 for each of `objectives`. The turns of the
  prompt are separated by `<extra_id_1>Assistant` and `<extra_id_1>User`.
- From a row of the second kind, a comparison. `overall_preference` runs from -3 (response 1 is much
  better) to 3 (response 2 is much better). Its absolute value is the margin; 0 is a tie and is
  rejected.

The first user turn is the group. More complexity or verbosity is not better, so these attributes
are only read if `objectives` names them. Add the objective to `costs` if less is better.

Options:
- `objectives`: objective -> attribute. Default: helpfulness, correctness and coherence under the
  same names.
- `costs`: the objectives for which less is better. Default: none.
- `objective`: the objective of the comparisons. Default: overall.
"""

import re
from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations.dialogues import Turn, group_id, turns
from concord.annotations.fields import integer, number, text
from concord.annotations.record import RowError
from concord.stage.params import FORBID, suggest

Attribute = Literal["helpfulness", "correctness", "coherence", "complexity", "verbosity"]
BETTER: dict[str, Attribute] = {
    "helpfulness": "helpfulness",
    "correctness": "correctness",
    "coherence": "coherence",
}
"""The attributes for which more is better, under the same names."""
LEAST, MOST = 0, 4
STRONGEST = 3
ANNOTATOR = "helpsteer"
SPEAKER = re.compile(r"\s*<extra_id_1>(User|Assistant)\b\s*")
ROLES = {"User": "user", "Assistant": "assistant"}


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    objectives: Annotated[dict[str, Attribute], Field(min_length=1)] = field(
        default_factory=lambda: dict(BETTER)
    )
    """Objective -> attribute. By default, the attributes for which more is better."""
    costs: list[str] = field(default_factory=list)
    """The objectives for which less is better."""
    objective: str = "overall"
    """The objective of the comparisons."""

    def __post_init__(self) -> None:
        for name in self.costs:
            if name not in self.objectives:
                raise ValueError(
                    f"costs contains {name!r}, which is not in objectives; "
                    f"{suggest(name, [*self.objectives])}"
                )


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any] | RowError]:
    """The ratings or the comparison of a row."""
    if row.get("overall_preference") is None:
        return ratings(row, options)
    return iter([comparison(row, options)])


def ratings(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any] | RowError]:
    """Yields a rating for each objective."""
    messages, response = prompt_turns(text(row, "prompt")), text(row, "response")
    shared = {
        "kind": "rating",
        "group_id": group_id(messages),
        "messages": messages,
        "response": response,
    }
    for objective, attribute in options.objectives.items():
        scale = [MOST, LEAST] if objective in options.costs else [LEAST, MOST]
        judged = {"objective": objective, "scale": scale, "annotator": ANNOTATOR}
        try:
            yield {**shared, "rating": number(row, attribute), **judged}
        except RowError as error:
            yield error


def comparison(row: dict[str, Any], options: Options) -> dict[str, Any]:
    """The comparison of two responses, with its margin."""
    messages, preference = turns(row, "context"), integer(row, "overall_preference")
    if abs(preference) > STRONGEST:
        detail = f"{preference} is outside {-STRONGEST} to {STRONGEST}"
        raise RowError("off_scale", "overall_preference", detail)
    preferred = "tie"
    if preference:
        preferred = "a" if preference < 0 else "b"
    return {
        "kind": "comparison",
        "group_id": group_id(messages),
        "messages": messages,
        "a": text(row, "response1"),
        "b": text(row, "response2"),
        "preferred": preferred,
        "margin": abs(preference),
        "objective": options.objective,
        "annotator": ANNOTATOR,
    }


def prompt_turns(prompt: str) -> list[Turn]:
    """Splits a prompt into chat turns."""
    first, *parts = SPEAKER.split(prompt)
    later = zip(parts[::2], parts[1::2], strict=True)
    return [
        {"role": "user", "content": first},
        *({"role": ROLES[speaker], "content": words} for speaker, words in later),
    ]
