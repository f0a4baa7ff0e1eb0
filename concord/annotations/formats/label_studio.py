"""Label Studio: pairwise, rating and choice projects, as the full JSON export.

Reads https://labelstud.io/guide/export (JSON):

    [{"data": {"prompt": "...", "answer1": "...", "answer2": "..."},
      "annotations": [{"completed_by": 1, "was_cancelled": false,
                       "result": [{"from_name": "cmp", "type": "pairwise",
                                   "value": {"selected": "left"}}]}]}]

Makes an annotation for each result of each person: a comparison from a result of the type pairwise
(left is the first answer, nothing selected a tie), a rating from the type rating, and a binary
label from the type choices with `labels`. An annotation that was skipped
(`was_cancelled`), or has no result, is left out and counted. Each person (`completed_by`) is an
annotator. The first user turn is the group.

Options:
- `objectives`: objective -> `from_name` of the results. Required.
- `prompt`: the key of the prompt in `data`. Default: prompt.
- `answers`: the keys of the answers in `data`: one, or two for pairwise results. Default: answer1
  and answer2.
- `scale`: worst and best rating. Default: 1 and 5.
- `labels`: choice -> 0 or 1 for one answer, or a, b or tie for two. Default: none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations import meanings
from concord.annotations.dialogues import Turn, group_id, spoken
from concord.annotations.fields import Object, items, mapping, mappings, number, shorten, text
from concord.annotations.judgements import comparison, yes_or_no
from concord.annotations.record import RowError
from concord.annotations.shapes import OBJECTIVE, Row, Shape
from concord.stage.params import FORBID

Choice = Literal[0, 1, "a", "b", "tie"]
SIDES = {"left": "a", "right": "b", "": "tie"}
PROMPTS = ("prompt", "question", "instruction", "text", "input")


def likely_options(rows: Sequence[Row]) -> dict[str, Any]:
    """An objective for each name of results, and the keys of the prompt and the answers."""
    results_of = [result for row in rows for result in listed_results(row)]
    names = dict.fromkeys(str(result["from_name"]) for result in results_of)
    data = next((row["data"] for row in rows if isinstance(row["data"], dict)), {})
    texts = [key for key, value in data.items() if isinstance(value, str | list)]
    prompt = next((key for key in PROMPTS if key in texts), "prompt")
    is_pair = any(result.get("type") == "pairwise" for result in results_of)
    answers = [key for key in texts if key != prompt][: 2 if is_pair else 1]
    options: dict[str, Any] = {
        "objectives": {meanings.as_objective(name): name for name in names or [OBJECTIVE]},
        "prompt": prompt,
        "answers": answers or ["answer"],
    }
    values = [result["value"] for result in results_of if isinstance(result.get("value"), dict)]
    choices = {
        choice
        for value in values
        for choice in value.get("choices") or ()
        if isinstance(choice, str)
    }
    if choices:
        options["labels"] = meanings.good_or_bad(sorted(choices)) or {}
    if ratings := meanings.numbers([value.get("rating") for value in values]):
        options["scale"] = meanings.scale(ratings)
    return options


def listed_results(row: Row) -> Iterator[dict[str, Any]]:
    """The named results of all people in a task."""
    for person in row["annotations"] if isinstance(row["annotations"], list) else ():
        for result in (person.get("result") if isinstance(person, dict) else None) or ():
            if isinstance(result, dict) and "from_name" in result:
                yield result


SHAPES = (Shape(("data", "annotations"), likely_options, extra=2),)


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    objectives: Annotated[dict[str, str], Field(min_length=1)]
    """Objective -> `from_name` of the results."""
    prompt: str = "prompt"
    """The key of the prompt in `data`."""
    answers: Annotated[list[str], Field(min_length=1, max_length=2)] = field(
        default_factory=lambda: ["answer1", "answer2"]
    )
    """The keys of the answers in `data`: one, or two for pairwise results."""
    scale: Annotated[list[float], Field(min_length=2, max_length=2)] = field(
        default_factory=lambda: [1.0, 5.0]
    )
    """Worst and best rating."""
    labels: dict[str, Choice] = field(default_factory=dict)
    """Choice -> 0 or 1 for one answer; a, b or tie for two."""


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any] | RowError]:
    """Yields the annotations of a task."""
    data = mapping(row, "data")
    messages, answers = spoken(data, options.prompt), [text(data, key) for key in options.answers]
    people = mappings(row, "annotations")
    if not people:
        yield RowError("no_label", "annotations", "is empty: nobody annotated the task")
    for person in people:
        if person.get("was_cancelled"):
            yield RowError("left_out", "annotations", "the person skipped the task")
            continue
        yield from results(person, messages, answers, options)


def results(
    person: Object, messages: list[Turn], answers: list[str], options: Options
) -> Iterator[dict[str, Any] | RowError]:
    """Yields the annotations of one person."""
    items = mappings(person, "result")
    by_name = {name: item for item in items if isinstance(name := item.get("from_name"), str)}
    for objective, name in options.objectives.items():
        if name not in by_name:
            detail = f"the annotation has no result of {name!r}; it has {shorten([*by_name])}"
            yield RowError("no_label", "annotations", detail)
            continue
        try:
            yield converted(by_name[name], who(person), objective, messages, answers, options)
        except RowError as error:
            yield error


def who(person: Object) -> str:
    """The name of a person: an id, an address, or an object with one."""
    name = person.get("completed_by", "label_studio")
    if isinstance(name, dict):
        name = name.get("email") or name.get("id")
    return str(name)


def converted(
    result: Object,
    annotator: str,
    objective: str,
    messages: list[Turn],
    answers: list[str],
    options: Options,
) -> dict[str, Any]:
    """The annotation of one result. Raises RowError."""
    kind, value = text(result, "type", "annotations"), mapping(result, "value", "annotations")
    if kind == "rating":
        if len(answers) != 1:
            raise RowError("wrong_type", "annotations", "a rating needs one key in `answers`")
        return {
            "kind": "rating",
            "group_id": group_id(messages),
            "messages": messages,
            "response": answers[0],
            "rating": number(value, "rating", "annotations"),
            "scale": options.scale,
            "objective": objective,
            "annotator": annotator,
        }
    meaning = chosen(kind, value, options)
    if isinstance(meaning, str):
        if len(answers) != 2:
            raise RowError("wrong_type", "annotations", "a comparison needs two keys in `answers`")
        return comparison(messages, (answers[0], answers[1]), meaning, objective, annotator)
    if len(answers) != 1:
        raise RowError("wrong_type", "annotations", "a binary label needs one key in `answers`")
    return yes_or_no(messages, answers[0], bool(meaning), objective, annotator)


def chosen(kind: str, value: Object, options: Options) -> Choice:
    """What a pairwise result or a choice means. Raises RowError."""
    allowed: dict[str, Any] = {}
    said: Any = None
    if kind == "pairwise":
        allowed.update(SIDES)
        said = value.get("selected") or ""
    elif kind == "choices":
        allowed.update(options.labels)
        choices = items(value, "choices", "annotations")
        said = choices[0] if len(choices) == 1 else choices
    else:
        detail = f"the result has the type {kind!r}; only pairwise, rating and choices can be read"
        raise RowError("wrong_type", "annotations", detail)
    if not isinstance(said, str) or said not in allowed:
        names = ", ".join(filter(None, allowed)) or "none; give the option `labels`"
        detail = f"is {shorten(said)}; allowed: {names}"
        raise RowError("off_scale", "annotations", detail)
    meaning: Choice = allowed[said]
    return meaning
