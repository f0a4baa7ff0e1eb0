"""Argilla: ratings, labels and rankings of answers by several people, as a flat export.

Reads what https://docs.argilla.io exports to JSON, Parquet or the Hub. A question `<name>` has
three columns, one value for each person; the fields have other columns:

    {"prompt": "...", "completion": "...", "<name>.responses": [4, 2],
     "<name>.responses.users": ["p1", "p2"], "<name>.responses.status": ["submitted", "discarded"]}

Makes an annotation for each person whose response was submitted. The kind depends on the question:
a rating for a number, a binary label for one of two labels named in `labels`, and a comparison if
`fields` names two answers. Discarded and draft responses are left out and counted. A person without
a name is "argilla". The first user turn is the group.

Options:
- `question`: the name of the question. Required.
- `objective`: the objective of the question. Default: null, the name of the question.
- `prompt`: the field of the prompt. Default: prompt.
- `fields`: the fields of the answers: one for ratings and labels, two for comparisons. Default:
  completion.
- `scale`: worst and best rating. Default: 1 and 5.
- `labels`: label in the export -> 0 or 1 for one answer, or a, b or tie for two. Default: none, for
  ratings.
"""

from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations import meanings
from concord.annotations.dialogues import Turn, group_id, spoken
from concord.annotations.fields import is_empty, items, number, shorten, text
from concord.annotations.judgements import comparison, yes_or_no
from concord.annotations.record import RowError
from concord.annotations.shapes import Row, Shape
from concord.stage.params import FORBID

Meaning = Literal[0, 1, "a", "b", "tie"]
SUBMITTED = "submitted"
RESPONSES = ".responses"
NO_FIELDS = ("id", "_server_id", "status", "inserted_at", "updated_at")
PROMPTS = ("prompt", "instruction", "question", "input", "text")


def has_responses(row: Row) -> bool:
    """Whether a row has the responses of people to a question."""
    return any(key.endswith(RESPONSES) for key in row)


def likely_options(rows: Sequence[Row]) -> dict[str, Any]:
    """The first question, its fields, and what its responses mean."""
    column = next(key for row in rows for key in row if key.endswith(RESPONSES))
    texts = list(dict.fromkeys(key for row in rows for key in row if is_field(row, key)))
    prompt = next((key for key in PROMPTS if key in texts), texts[0] if texts else "prompt")
    fields = [key for key in texts if key != prompt][:2] or ["completion"]
    lists = [row[column] for row in rows if isinstance(row.get(column), list)]
    said = [value for values in lists for value in values if not is_empty(value)]
    question = column.removesuffix(RESPONSES)
    options: dict[str, Any] = {"question": question, "prompt": prompt}
    if meanings.as_objective(question) != question:
        options["objective"] = meanings.as_objective(question)
    words = sorted({value for value in said if isinstance(value, str)})
    if len(fields) == 2:
        if (meaning := meanings.sides(words, *fields)) is not None:
            known = {word: meanings.WORDS[word.strip().casefold()] for word in words if not meaning}
            options["labels"] = meaning or known
    elif words:
        options["labels"] = meanings.good_or_bad(words) or {}
    elif given := meanings.numbers(said):
        options["scale"] = meanings.scale(given)
    return {**options, "fields": fields}


def is_field(row: Row, key: str) -> bool:
    """Whether a column holds the text of a field, not an id or part of a question."""
    return isinstance(row[key], str) and "." not in key and key not in NO_FIELDS


SHAPES = (Shape((), likely_options, has_responses, extra=3),)


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    question: str
    """The name of the question."""
    objective: str | None = None
    """The objective of the question; null for its name."""
    prompt: str = "prompt"
    """The field of the prompt."""
    fields: Annotated[list[str], Field(min_length=1, max_length=2)] = field(
        default_factory=lambda: ["completion"]
    )
    """The fields of the answers: one for ratings and labels, two for comparisons."""
    scale: Annotated[list[float], Field(min_length=2, max_length=2)] = field(
        default_factory=lambda: [1.0, 5.0]
    )
    """Worst and best rating."""
    labels: dict[str, Meaning] = field(default_factory=dict)
    """Label in the export -> 0 or 1 for one answer; a, b or tie for two."""

    def __post_init__(self) -> None:
        allowed = {0, 1} if len(self.fields) == 1 else {"a", "b", "tie"}
        for label, meaning in self.labels.items():
            if meaning not in allowed:
                raise ValueError(
                    f"labels.{label} is {meaning!r}, but with {len(self.fields)} fields the "
                    f"meanings are {', '.join(sorted(map(str, allowed)))}"
                )
        if len(self.fields) == 2 and not self.labels:
            raise ValueError("labels is empty; with two fields, say which label means a, b and tie")


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any] | RowError]:
    """Yields an annotation for each person."""
    messages = spoken(row, options.prompt)
    answers = [text(row, name) for name in options.fields]
    column = f"{options.question}.responses"
    said = items(row, column) if not is_empty(row.get(column)) else []
    users = beside(row, f"{column}.users", len(said), "argilla")
    statuses = beside(row, f"{column}.status", len(said), SUBMITTED)
    if not said:
        yield RowError("no_label", column, "is empty: nobody answered the question")
    for value, user, status in zip(said, users, statuses, strict=True):
        if status != SUBMITTED:
            yield RowError("left_out", column, f"the response of {user} is {shorten(status)}")
            continue
        try:
            yield annotation(value, f"{user}", messages, answers, options)
        except RowError as error:
            yield error


def beside(row: dict[str, Any], key: str, count: int, default: str) -> list[Any]:
    """A column with one value for each of `count` responses, or the default."""
    if is_empty(row.get(key)):
        return [default] * count
    values = items(row, key)
    if len(values) != count:
        raise RowError("wrong_type", key, f"has {len(values)} values for {count} responses")
    return [default if is_empty(value) else value for value in values]


def annotation(
    value: Any, user: str, messages: list[Turn], answers: list[str], options: Options
) -> dict[str, Any]:
    """The annotation of one person. Raises RowError."""
    column, objective = f"{options.question}.responses", options.objective or options.question
    if is_empty(value):
        raise RowError("no_label", column, f"the response of {user} is empty")
    if not options.labels:
        return {
            "kind": "rating",
            "group_id": group_id(messages),
            "messages": messages,
            "response": answers[0],
            "rating": number({column: value}, column),
            "scale": options.scale,
            "objective": objective,
            "annotator": user,
        }
    if str(value) not in options.labels:
        detail = f"is {shorten(value)}; the option labels lists {', '.join(options.labels)}"
        raise RowError("off_scale", column, detail)
    meaning = options.labels[str(value)]
    if isinstance(meaning, str):
        return comparison(messages, (answers[0], answers[1]), meaning, objective, user)
    return yes_or_no(messages, answers[0], bool(meaning), objective, user)
