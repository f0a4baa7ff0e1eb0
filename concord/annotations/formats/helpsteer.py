"""HelpSteer: ratings of answers on five attributes (1 and 2), and preferences between answers (3).

Reads https://huggingface.co/datasets/nvidia/HelpSteer, .../HelpSteer2 and .../HelpSteer3. Other
keys are ignored:

    {"prompt": "...", "response": "...", "helpfulness": 3, "correctness": 4, "coherence": 4,
     "complexity": 2, "verbosity": 1}
    {"context": [{"role": "user", "content": "..."}, ...], "response1": "...",
     "response2": "...", "overall_preference": -2}

    {"prompt": "...", "response_1": "...", "response_2": "...", "preference_strength": -2}
    {"context": [...], "original_response": "...", "edited_response": "...", "feedback": [...]}
    {"context": [...], "good_edited_response": "...", "bad_edited_response": "..."}

Makes:

- From a row of the first kind, a rating from 0 to 4 for each of `objectives`. An empty one is a
  missing label, which is left out and counted. The turns of the prompt are separated by
  `<extra_id_1>Assistant` and `<extra_id_1>User`.
- From a row of the second or third kind, a comparison. `overall_preference` and
  `preference_strength` run from -3 (response 1 is much better) to 3 (response 2 is much better).
  The absolute value is the margin; 0 is a tie, which is left out and counted, like a row without a
  preference. With `individual`, each person's preference is a comparison instead.
- From an edit, a comparison: the edited answer is preferred to the original one, and a good edit to
  a bad one. Feedback in words alone is no label; such rows are left out and counted.

HelpSteer 1, 2 and 3 are CC-BY-4.0.

The first user turn is the group. More complexity or verbosity is not better, so these attributes
are only read if `objectives` names them. Add the objective to `costs` if less is better.

Options:
- `objectives`: objective -> attribute. Default: helpfulness, correctness and coherence under the
  same names.
- `costs`: the objectives for which less is better. Default: none.
- `objective`: the objective of the comparisons. Default: overall.
- `individual`: whether to read each person's preference instead of the overall one. Default: false.
"""

import re
from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations import judgements
from concord.annotations.dialogues import Turn, group_id, turns
from concord.annotations.fields import given, integer, items, number, shorten, text
from concord.annotations.judgements import by_sign
from concord.annotations.record import RowError
from concord.annotations.shapes import Shape
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
OVERALL = "overall_preference"
PAIRS = (
    ("response1", "response2", OVERALL),
    ("response_1", "response_2", "preference_strength"),
)
"""The keys of the two responses and of the preference."""
SCORES = ("score", OVERALL, "preference", "preference_strength")
"""The keys of one person's preference."""
EDITS = (
    ("good_edited_response", "bad_edited_response"),
    ("edited_response", "original_response"),
)
"""The keys of the better and of the worse answer."""
SPEAKER = re.compile(r"\s*<extra_id_1>(User|Assistant)\b\s*")
ROLES = {"User": "user", "Assistant": "assistant"}
SHAPES = (
    Shape(("prompt", "response", "helpfulness", "correctness")),
    Shape(("context", "response1", "response2", "overall_preference")),
    Shape(("prompt", "response_1", "response_2", "preference_strength")),
    Shape(("context", "original_response", "edited_response")),
    Shape(("context", "good_edited_response", "bad_edited_response")),
    Shape(("context", "response", "feedback")),
)


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
    individual: bool = False
    """Whether to read each person's preference instead of the overall one."""

    def __post_init__(self) -> None:
        for name in self.costs:
            if name not in self.objectives:
                raise ValueError(
                    f"costs contains {name!r}, which is not in objectives; "
                    f"{suggest(name, [*self.objectives])}"
                )


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any] | RowError]:
    """The ratings or the comparisons of a row."""
    if any(row.get(key) is not None for key, _ in EDITS):
        return iter([edit(row, options)])
    for first, second, key in PAIRS:
        if row.get(first) is None and row.get(second) is None:
            continue
        if options.individual and key == OVERALL:
            return individual(row, options)
        if key in row:
            return iter([comparison(row, (first, second), key, options)])
        if "feedback1" in row or "feedback" in row:
            raise RowError("left_out", "feedback1", "feedback in words alone is no label")
        raise RowError("missing_key", key, f"there is no `{key}`")
    if row.get("feedback") is not None and "helpfulness" not in row:
        raise RowError("left_out", "feedback", "feedback in words alone is no label")
    return ratings(row, options)


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
            given(row, attribute)
            yield {**shared, "rating": number(row, attribute), **judged}
        except RowError as error:
            yield error


def comparison(
    row: dict[str, Any], pair: tuple[str, str], key: str, options: Options, person: str = ANNOTATOR
) -> dict[str, Any]:
    """The comparison of two responses, with its margin."""
    given(row, key)
    preferred, margin = by_sign(integer(row, key), STRONGEST, key)
    answers = (text(row, pair[0]), text(row, pair[1]))
    return judgements.comparison(
        messages_of(row), answers, preferred, options.objective, person, margin=margin
    )


def individual(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any] | RowError]:
    """Yields the comparison of each person. They have no names, so they are numbered per row."""
    people = items(row, "individual_preference") if row.get("individual_preference") else []
    if not people:
        yield RowError("no_label", "individual_preference", "is empty: nobody judged the pair")
    for number_of, person in enumerate(people, 1):
        try:
            judged = row | {"score": score_of(person)}
            yield comparison(judged, PAIRS[0][:2], "score", options, f"{ANNOTATOR}_{number_of}")
        except RowError as error:
            yield error


def score_of(person: Any) -> Any:
    """The preference of one person: a number, or an object with one under a known key."""
    if not isinstance(person, dict):
        return person
    for key in SCORES:
        if key in person:
            return person[key]
    detail = f"has none of {', '.join(SCORES)}, but {shorten([*person])}"
    raise RowError("missing_key", "individual_preference", detail)


def edit(row: dict[str, Any], options: Options) -> dict[str, Any]:
    """The comparison of an edited answer with the original, or of a good with a bad edit."""
    better, worse = next(pair for pair in EDITS if row.get(pair[0]) is not None)
    answers = (text(row, better), text(row, worse))
    return judgements.comparison(
        messages_of(row), answers, "a", options.objective, "helpsteer_edit"
    )


def messages_of(row: dict[str, Any]) -> list[Turn]:
    """The prompt of a pair."""
    return turns(row, "context") if row.get("context") else prompt_turns(text(row, "prompt"))


def prompt_turns(prompt: str) -> list[Turn]:
    """Splits a prompt into chat turns."""
    first, *parts = SPEAKER.split(prompt)
    later = zip(parts[::2], parts[1::2], strict=True)
    return [
        {"role": "user", "content": first},
        *({"role": ROLES[speaker], "content": words} for speaker, words in later),
    ]
