r"""MRBench: replies of several tutors to one dialogue, each graded by people on eight pedagogical dimensions.

`path` is a JSON file, an array of objects

    {"conversation_id": "...", "conversation_history": "Tutor: ...\n Student: ...",
     "anno_llm_responses": {"<author>": {"response": "...", "annotation": {"<dimension>": "<grade>", ...}}, ...}}

(other keys are ignored). A reply becomes one rating for each objective asked for; its author, who must not be confused
with the annotator, stands in the row's extra key `author`. Grades are numbered by `GRADES`, and the revealing of the
answer is turned round into `not_revealing`, so that more is better. The dialogue is the group (one id may stand in
several entries) and a prompt of domain `tutoring`. The student is the user; since chat models expect the user first,
what the tutor says before the student's first turn is quoted there. Consecutive turns of one speaker are joined. A
dialogue that does not end with the student is rejected by the common check of roles. `source_line` is the line on
which the entry begins.

Options: `objectives` (a list from `DIMENSIONS`; guidance and not_revealing), `dialogues` (how many, by the order of
hashes; null for all), `demonstrations` (authors whose replies to imitate, e.g. [Expert]; none).
"""

import re
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations.dialogues import TUTORING, Turn, clean, tutored
from concord.annotations.files import json_array
from concord.annotations.interchange import content_hash
from concord.annotations.record import GivenOptions, Record, RowError
from concord.stage.errors import ParamsError
from concord.stage.params import FORBID, section

DIMENSIONS = {
    "mistake_identified": "Mistake_Identification",
    "mistake_located": "Mistake_Location",
    "not_revealing": "Revealing_of_the_Answer",
    "guidance": "Providing_Guidance",
    "actionable": "Actionability",
    "coherent": "Coherence",
    "tone": "Tutor_Tone",
    "human_like": "humanlikeness",
}
"""Objective -> its key among the annotations."""
EXTENT = {"No": 0, "To some extent": 1, "Yes": 2}
GRADES: dict[str, dict[str, int]] = dict.fromkeys(DIMENSIONS, EXTENT) | {
    "not_revealing": {
        "Yes (and the answer is correct)": 0,
        "Yes (but the answer is incorrect)": 0,
        "No": 1,
    },
    "tone": {"Offensive": 0, "Neutral": 1, "Encouraging": 2},
}
"""Objective -> grade -> number; the scale runs from the least to the greatest of them."""
ROLES = {"Student": "user", "Tutor": "assistant"}
SPEAKER = re.compile(r"(?:^|\n)\s*(Tutor|Student)\s*:")


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    objectives: list[str] = field(default_factory=lambda: ["guidance", "not_revealing"])
    """Which of the eight to read."""
    dialogues: Annotated[int, Field(ge=1)] | None = None
    """How many dialogues; null for all."""
    demonstrations: list[str] = field(default_factory=list)
    """Authors whose replies are demonstrations."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.objectives) - set(DIMENSIONS))
        if unknown or not self.objectives:
            raise ParamsError(
                f"options.objectives holds {unknown or 'nothing'}; allowed: {', '.join(DIMENSIONS)}"
            )


def read(path: Path, given: GivenOptions) -> Iterator[Record]:
    """Prompts, ratings and demonstrations of a file; entries of another form come as rejected Records."""
    options = section(Options, dict(given), "options")
    found = [check(record) for record in json_array(path)]
    rows = [record.row for record in found if record.row is not None]
    ids = sorted({str(row["conversation_id"]) for row in rows}, key=content_hash)[
        : options.dialogues
    ]
    asked: set[str] = set()
    for record in found:
        if record.row is None:
            yield record
        elif str(record.row["conversation_id"]) in ids:
            yield from dialogue(record, record.row, options, asked)


def check(record: Record) -> Record:
    """`record`, rejected unless it has the keys of a dialogue."""
    if record.row is None:
        return record
    for key, kind in (
        ("conversation_id", str),
        ("conversation_history", str),
        ("anno_llm_responses", dict),
    ):
        if not isinstance(record.row.get(key), kind):
            reason = "wrong_type" if key in record.row else "missing_key"
            return record.becomes(RowError(reason, key, f"must be {kind.__name__}"))
    return record


def dialogue(
    record: Record, entry: dict[str, Any], options: Options, asked: set[str]
) -> Iterator[Record]:
    """Everything that one entry says."""
    shared = {
        "group_id": entry["conversation_id"],
        "messages": messages(entry["conversation_history"]),
    }
    if entry["conversation_id"] not in asked:
        asked.add(entry["conversation_id"])
        yield record.becomes({"kind": "prompt", **shared, "domain": TUTORING, "reference": None})
    for author, reply in entry["anno_llm_responses"].items():
        if not isinstance(reply, dict) or not isinstance(reply.get("annotation"), dict):
            yield record.becomes(
                RowError("wrong_type", author, "must be {response, annotation: {dimension: grade}}")
            )
            continue
        text = reply.get("response")
        answer = {
            **shared,
            "response": clean(text) if isinstance(text, str) else text,
            "author": author,
        }
        for objective in options.objectives:
            yield record.becomes(rating(answer, objective, reply["annotation"]))
        if author in options.demonstrations:
            yield record.becomes({"kind": "demonstration", **answer, "domain": TUTORING})


def rating(
    answer: dict[str, Any], objective: str, annotation: dict[str, Any]
) -> dict[str, Any] | RowError:
    """One grade as a row, or why it is none: it is not in `GRADES`."""
    given, grades = annotation.get(DIMENSIONS[objective]), GRADES[objective]
    if not isinstance(given, str) or given not in grades:
        reason = "missing_key" if given is None else "off_scale"
        return RowError(
            reason, DIMENSIONS[objective], f"is {given!r}; allowed: {', '.join(grades)}"
        )
    row = {"kind": "rating", **answer, "objective": objective, "annotator": "mrbench"}
    return {**row, "rating": grades[given], "scale": [min(grades.values()), max(grades.values())]}


def messages(history: str) -> list[Turn]:
    """A transcript as the prompt of a tutor."""
    parts = SPEAKER.split(history)
    return tutored(
        (ROLES[speaker], said) for speaker, said in zip(parts[1::2], parts[2::2], strict=True)
    )
