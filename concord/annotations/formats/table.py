"""Custom tables: CSV, Parquet or JSON rows that all hold one kind of annotation.

Reads columns that are named like the keys of the interchange format
(`concord.annotations.interchange`). Map other names to these keys with the source's `columns`.
Columns that are not mapped are ignored. For example, the row

    {"question": "Name a colour.", "answer_1": "Red.", "answer_2": "No.", "winner": "a"}

is read by this source:

    format: table
    path: data/raw/answers.csv
    columns: {a: answer_1, b: answer_2, preferred: winner}
    options:
      kind: comparison
      prompt: question
      constants: {objective: helpful, annotator: crowd}

The places may be paths: `a: reply.text` reads a nested key, and `responses: answers[].text` a list.
`values` translates what a column says, as in `values: {preferred: {left: a, right: b}}` or
`values: {rating: {poor: 1, good: 4}}`. An empty rating, label or preference is a missing label,
which is left out and counted.

Several labels in one row become one annotation each with `objectives`: the objective, and the
column with its label. With `kind: comparison`, `objectives: {helpful: more_helpful, harmless:
safer}` reads two preferences about the same pair.

A row of ratings or binary labels may hold a list of answers and a list of labels: with `columns:
{response: generations, rating: ratings}`, each answer becomes an annotation.

If the interchange format requires a number or a list and the column holds text, as in CSV, the text
is parsed: numbers like 0.5, .5 or 1e-3, lists as JSON. A label may also be true or false. A
preference may also be A, model_a, response_a, left or a kind of tie. A prompt that is a transcript
is split into turns, and context in other columns is added (`concord.annotations.context`).

Makes one annotation of `kind` per row, or one per objective. The group of a row without `group_id`
is its first user turn.

Options:
- `kind`: the kind of annotation: prompt, demonstration, comparison, rating, ranking, binary or
  steps. Required.
- `constants`: key of the interchange format -> value in every row; replaces the column. Default:
  none.
- `prompt`: the column whose text is the only user turn. Default: null, which requires `messages`.
- `system`: the content of a system turn before `prompt`. Default: null, no system turn.
- `objectives`: objective -> the column with its label, for rows with several labels. Default: none.
- `values`: key of the interchange format -> value in the column -> value to read. Default: none.
- `tools`: what becomes of rows with tool calls: `reject`, or `text`, which keeps these turns as
  text. Default: reject.
- `ignore`: columns with context that is dropped, such as tools. Default: none.
"""

import json
from collections.abc import Iterator
from dataclasses import field
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from concord.annotations.columns import MISSING, at
from concord.annotations.context import with_context
from concord.annotations.dialogues import Tools, group_id, spoken, turns
from concord.annotations.fields import NUMBER, is_empty, items, shorten, wrong_type
from concord.annotations.interchange import FIELDS
from concord.annotations.meanings import side
from concord.annotations.record import RowError, unique_keys
from concord.stage.params import FORBID, suggest

NUMBERS = ("rating", "label", "margin")
LISTS = ("messages", "scale", "responses", "ranks", "steps", "labels")
BOOLEANS = {"true": 1, "false": 0}
LABELS = {
    "comparison": "preferred",
    "rating": "rating",
    "ranking": "ranks",
    "binary": "label",
    "steps": "labels",
}
"""Kind of annotation -> the key of its label."""
SHARED = ("group_id", "messages", "finish_reason")
JUDGED = ("objective", "annotator")
KEYS = {
    "prompt": ("domain", "reference"),
    "demonstration": ("response", "domain", "author"),
    "comparison": (*JUDGED, "a", "b", "preferred", "margin", "authors"),
    "rating": (*JUDGED, "response", "rating", "scale", "author"),
    "ranking": (*JUDGED, "responses", "ranks", "authors"),
    "binary": (*JUDGED, "response", "label", "author"),
    "steps": ("objective", "steps", "labels", "label_kind"),
}
"""Kind of annotation -> the keys that it has. Other columns are ignored."""
SINGLE = ("rating", "binary")
"""Kinds with one answer, of which a row may hold a list."""


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    kind: Literal["prompt", "demonstration", "comparison", "rating", "ranking", "binary", "steps"]
    """The kind of annotation."""
    constants: dict[str, Any] = field(default_factory=dict)
    """Key of the interchange format -> value in every row. Replaces the column."""
    prompt: str | None = None
    """The column, or path, whose text is the prompt; null if `messages` contains it."""
    system: str | None = None
    """The content of a system turn before `prompt`; null for none."""
    objectives: dict[str, str] = field(default_factory=dict)
    """Objective -> the column with its label, for rows with several labels."""
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Key of the interchange format -> value in the column -> value to read."""
    tools: Tools = "reject"
    """Whether rows with tool calls are rejected, or kept with these turns as text."""
    ignore: list[str] = field(default_factory=list)
    """Columns with context that is dropped."""

    def __post_init__(self) -> None:
        if self.objectives and self.kind not in LABELS:
            raise ValueError(
                f"objectives: a {self.kind} has no label; use one of the kinds {', '.join(LABELS)}"
            )
        if self.objectives and "objective" in self.constants:
            raise ValueError("constants.objective: `objectives` names them; remove one of the two")
        allowed = [key for key in FIELDS if key != "kind"]
        for name, key in [
            *(("constants", key) for key in self.constants),
            *(("values", key) for key in self.values),
        ]:
            if key not in allowed:
                raise ValueError(
                    f"{name}.{key} is not a key of the interchange format; {suggest(key, allowed)}"
                )
        if self.system is not None and self.prompt is None:
            raise ValueError(
                "system requires prompt; set prompt to the column of the prompt, or remove system"
            )


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any] | RowError]:
    """Yields the annotations of a row."""
    if options.kind in SINGLE and isinstance(row.get("response"), list):
        for part in parts(row, LABELS[options.kind]):
            yield from annotations(part, options)
        return
    if not options.objectives:
        yield annotation(row, options)
    for objective, column in options.objectives.items():
        try:
            label = {LABELS[options.kind]: at_path(row, column), "objective": objective}
            yield annotation(row | label, options)
        except RowError as error:
            yield error


def parts(row: dict[str, Any], label: str) -> Iterator[dict[str, Any]]:
    """The row once for each of its answers, with the label and the author of the answer."""
    answers = items(row, "response")
    listed = {"response": answers} | {
        key: items(row, key) for key in (label, "author") if isinstance(row.get(key), list)
    }
    if label not in listed or len({len(values) for values in listed.values()}) > 1:
        given = len(listed[label]) if label in listed else 0
        raise wrong_type(label, f"one per answer ({len(answers)})", f"{given} values")
    for values in zip(*listed.values(), strict=True):
        yield row | dict(zip(listed, values, strict=True))


def at_path(row: dict[str, Any], column: str) -> Any:
    """The value in a column, which may be nested. Raises RowError if the row has none."""
    value = at(row, column)
    if value is MISSING:
        raise RowError("missing_key", column, f"there is no `{column}`")
    return value


def annotation(row: dict[str, Any], options: Options) -> dict[str, Any]:
    """The annotation of a row with one label."""
    made = {
        key: converted(key, translated(key, row[key], options.values))
        for key in (*SHARED, *KEYS[options.kind])
        if key in row
    }
    made = {**made, **options.constants, "kind": options.kind}
    ignore = options.ignore
    if options.prompt is not None:
        asked = {options.prompt: at_path(row, options.prompt)}
        ignore = [*ignore, options.prompt.partition(".")[0]]
        prompt = spoken(row | asked, options.prompt, options.tools)
        system = [] if options.system is None else [{"role": "system", "content": options.system}]
        made["messages"] = [*system, *prompt]
    elif made.get("messages") is not None:
        made["messages"] = spoken(made, "messages", options.tools)
    if made.get("messages") is not None:
        made["messages"] = with_context(row, made["messages"], ignore, options.tools)
    if made.get("group_id") is None:
        made["group_id"] = group_id(turns(made, "messages"))
    return made


def translated(key: str, value: Any, values: dict[str, dict[str, Any]]) -> Any:
    """The value that `values` gives for what a column says. Raises RowError for other values.

    Of a list, each item is translated.

    Examples:
        >>> translated("preferred", 0, {"preferred": {"0": "b", "1": "a"}})
        'b'
    """
    if key not in values or (is_empty(value) and str(value) not in values[key]):
        return value
    if isinstance(value, list):
        return [translated(key, item, values) for item in value]
    is_whole = isinstance(value, bool) or (isinstance(value, float) and value.is_integer())
    said = str(int(value)) if is_whole else str(value)
    for word in (str(value), said, str(value).strip(), str(value).lower()):
        if word in values[key]:
            return values[key][word]
    raise RowError(
        "off_scale",
        key,
        f"is {shorten(value)}, which `values.{key}` does not list; "
        f"it lists {', '.join(values[key])}",
    )


def converted(key: str, value: Any) -> Any:
    """Converts text, and boolean labels, to the type that `key` requires. Raises RowError.

    Examples:
        >>> converted("rating", "4"), converted("label", "true"), converted("scale", "[1, 5]")
        (4.0, 1, [1, 5])
    """
    if key == "label" and isinstance(value, bool):
        return int(value)
    if key == "labels" and isinstance(value, list):
        return [int(item) if isinstance(item, bool) else item for item in value]
    if key == "preferred" and isinstance(value, str):
        return side(value)
    if key in LISTS and isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return objects_in(key, value)
    if key in NUMBERS and is_empty(value):
        return None
    if not isinstance(value, str):
        return value
    if key == "label" and value.strip().lower() in BOOLEANS:
        return BOOLEANS[value.strip().lower()]
    if key in NUMBERS and not NUMBER.fullmatch(value):
        raise wrong_type(key, "a number", value)
    if key in NUMBERS:
        return float(value)
    return parse_list(key, value) if key in LISTS else value


def objects_in(key: str, value: list[Any]) -> Any:
    """A list of turns as it is. Raises RowError for objects where texts or numbers are required."""
    if key == "messages":
        return value
    (first, *_) = (item for item in value if isinstance(item, dict))
    raise wrong_type(key, f"texts or numbers (say which with columns: `{key}: LIST[].KEY`)", first)


def parse_list(key: str, value: str) -> Any:
    """Parses JSON. Later checks make sure that it is a list."""
    try:
        return json.loads(value, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise RowError(
            "not_json", key, f"must be a JSON list, but is {shorten(value)}: {error}"
        ) from None
