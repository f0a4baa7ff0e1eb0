r"""HelpSteer: ratings of answers on five attributes (1 and 2), and of two answers the better one (3).

    {"prompt": "...", "response": "...", "helpfulness": 3, "correctness": 4, "coherence": 4, "complexity": 2,
     "verbosity": 1}
    {"context": [{"role", "content"}, ...], "response1": "...", "response2": "...", "overall_preference": -2}

(https://huggingface.co/datasets/nvidia/HelpSteer2 and .../HelpSteer3; other keys are ignored.) A row of the first kind
becomes a rating, 0 to 4, of each objective asked for; turns of its prompt are told apart by `<extra_id_1>Assistant` and
`<extra_id_1>User`. A row of the second kind becomes a comparison: from -3, response 1 is much better, to 3, response 2
is much better; the distance from 0 is the margin, and 0 a tie. The user's first turn is the group.

Of complexity and verbosity more is not better, so that they come only if they are asked for, and as they are: more is
better, or, of an objective among the costs, less.

Options: `objectives` (ours -> the attribute; helpfulness, correctness and coherence under their own names), `costs`
(those of the objectives of which less is better; none), `objective` (of the comparisons; overall).
"""

import re
from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations.dialogues import Turn, group, turns
from concord.annotations.fields import number, text, whole
from concord.annotations.record import RowError
from concord.stage.params import FORBID, suggest

Attribute = Literal["helpfulness", "correctness", "coherence", "complexity", "verbosity"]
BETTER: dict[str, Attribute] = {
    "helpfulness": "helpfulness",
    "correctness": "correctness",
    "coherence": "coherence",
}
"""The attributes of which more is better, under their own names."""
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
    """Our objective -> the attribute that it is."""
    costs: list[str] = field(default_factory=list)
    """Objectives of which less is better."""
    objective: str = "overall"
    """The objective that comparisons are about."""

    def __post_init__(self) -> None:
        for name in self.costs:
            if name not in self.objectives:
                raise ValueError(
                    f"costs holds {name!r}, which is none of objectives; {suggest(name, [*self.objectives])}"
                )


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any] | RowError]:
    """The ratings or the comparison of a row."""
    if row.get("overall_preference") is None:
        return ratings(row, options)
    return iter([comparison(row, options)])


def ratings(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any] | RowError]:
    """A row for each objective."""
    messages, response = asked(text(row, "prompt")), text(row, "response")
    shared = {
        "kind": "rating",
        "group_id": group(messages),
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
    """Which of two answers is better, and by how much."""
    messages, strength = turns(row, "context"), whole(row, "overall_preference")
    if abs(strength) > STRONGEST:
        detail = f"{strength} lies outside {-STRONGEST} to {STRONGEST}"
        raise RowError("off_scale", "overall_preference", detail)
    preferred = "tie" if strength == 0 else "a" if strength < 0 else "b"
    answers = {"a": text(row, "response1"), "b": text(row, "response2"), "preferred": preferred}
    judged = {"margin": abs(strength), "objective": options.objective, "annotator": ANNOTATOR}
    return {
        "kind": "comparison",
        "group_id": group(messages),
        "messages": messages,
        **answers,
        **judged,
    }


def asked(prompt: str) -> list[Turn]:
    """A prompt as chat turns."""
    first, *parts = SPEAKER.split(prompt)
    later = zip(parts[::2], parts[1::2], strict=True)
    spoken = [{"role": ROLES[speaker], "content": words} for speaker, words in later]
    return [{"role": "user", "content": first}, *spoken]
