r"""MRBench: replies of several tutors to one dialogue, rated by people on eight dimensions.

Reads one JSON file of https://github.com/kaushal0494/UnifyingAITutorEvaluation (arXiv 2412.09416),
an array of objects; other keys are ignored:

    {"conversation_id": "...", "conversation_history": "Tutor: ...\n Student: ...",
     "anno_llm_responses": {"<author>": {"response": "...",
                                         "annotation": {"<dimension>": "<grade>", ...}}, ...}}

Makes:

- A rating of each reply for each of `objectives`. The extra key `author` names the tutor; the
  annotator is `mrbench`. `GRADES` maps grades to numbers. "Revealing of the answer" is inverted to
  `not_revealing`, so that more is better.
- A prompt of the domain `tutoring` for each dialogue.
- Demonstrations: the replies of the tutors in `demonstrations`.

The dialogue is the group; several entries may have the same id. The student is the user. Chat
templates expect the user first, so tutor turns before the first student turn are quoted in it.
Consecutive turns of one speaker are joined. A dialogue that does not end with the student is
rejected. `source_line` is the line on which the entry begins.

Options:
- `objectives`: a list of keys of `DIMENSIONS`. Default: guidance and not_revealing.
- `dialogues`: the number of dialogues, in the order of their hashes. Default: null, all.
- `demonstrations`: the authors to imitate, for example [Expert]. Default: none.
"""

import re
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations.dialogues import TUTORING, Turn, clean_text, tutor_prompt
from concord.annotations.files import counted
from concord.annotations.interchange import content_hash
from concord.annotations.record import GivenOptions, Record, RowError
from concord.annotations.shapes import Shape
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
"""Objective -> key of the annotation."""
EXTENT = {"No": 0, "To some extent": 1, "Yes": 2}
GRADES: dict[str, dict[str, int]] = dict.fromkeys(DIMENSIONS, EXTENT) | {
    "not_revealing": {
        "Yes (and the answer is correct)": 0,
        "Yes (but the answer is incorrect)": 0,
        "No": 1,
    },
    "tone": {"Offensive": 0, "Neutral": 1, "Encouraging": 2},
}
"""Objective -> grade -> number. The scale runs from the smallest to the largest number."""
ROLES = {"Student": "user", "Tutor": "assistant"}
SPEAKER = re.compile(r"(?:^|\n)\s*(Tutor|Student)\s*:")
SHAPES = (Shape(("conversation_history", "anno_llm_responses")),)


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    objectives: list[str] = field(default_factory=lambda: ["guidance", "not_revealing"])
    """Which of the eight dimensions to read: `mistake_identified`, `mistake_located`,
    `not_revealing`, `guidance`, `actionable`, `coherent`, `tone`, `human_like`."""
    dialogues: Annotated[int, Field(ge=1)] | None = None
    """The number of dialogues, in the order of their hashes; null for all."""
    demonstrations: list[str] = field(default_factory=list)
    """The authors whose replies are demonstrations."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.objectives) - set(DIMENSIONS))
        if unknown or not self.objectives:
            problem = f"contains {unknown}" if unknown else "is empty"
            raise ParamsError(f"options.objectives {problem}; allowed: {', '.join(DIMENSIONS)}")


def read(path: Path, given: GivenOptions) -> Iterator[Record]:
    """Yields the annotations of a file, and its invalid entries as rejected Records."""
    options = section(Options, dict(given), "options")
    records = [check_entry(record) for record in counted(path)]
    rows = [record.row for record in records if record.row is not None]
    ids = sorted({str(row["conversation_id"]) for row in rows}, key=content_hash)
    kept = ids[: options.dialogues]
    prompted: set[str] = set()
    for record in records:
        if record.row is None:
            yield record
        elif str(record.row["conversation_id"]) in kept:
            yield from entry_annotations(record, record.row, options, prompted)


def files(path: Path, given: GivenOptions) -> dict[str, Path]:
    """The file that is read."""
    return {"": path}


def check_entry(record: Record) -> Record:
    """The record, rejected unless it has the keys of a dialogue."""
    if record.row is None:
        return record
    for key, kind in (
        ("conversation_id", str),
        ("conversation_history", str),
        ("anno_llm_responses", dict),
    ):
        if not isinstance(record.row.get(key), kind):
            reason = "wrong_type" if key in record.row else "missing_key"
            return record.with_result(RowError(reason, key, f"must be {kind.__name__}"))
    return record


def entry_annotations(
    record: Record, entry: dict[str, Any], options: Options, prompted: set[str]
) -> Iterator[Record]:
    """Yields the annotations of one entry.

    `prompted` holds the ids of the dialogues that are prompts already, and is updated.
    """
    prompt = {
        "group_id": entry["conversation_id"],
        "messages": messages(entry["conversation_history"]),
    }
    if entry["conversation_id"] not in prompted:
        prompted.add(entry["conversation_id"])
        yield record.with_result(
            {"kind": "prompt", **prompt, "domain": TUTORING, "reference": None}
        )
    for author, reply in entry["anno_llm_responses"].items():
        if not isinstance(reply, dict) or not isinstance(reply.get("annotation"), dict):
            yield record.with_result(
                RowError("wrong_type", author, "must be {response, annotation: {dimension: grade}}")
            )
            continue
        response = reply.get("response")
        answer = {
            **prompt,
            "response": clean_text(response) if isinstance(response, str) else response,
            "author": author,
        }
        for objective in options.objectives:
            yield record.with_result(rating(answer, objective, reply["annotation"]))
        if author in options.demonstrations:
            yield record.with_result({"kind": "demonstration", **answer, "domain": TUTORING})


def rating(
    answer: dict[str, Any], objective: str, annotation: dict[str, Any]
) -> dict[str, Any] | RowError:
    """The rating of one reply, or an error if `GRADES` does not contain the grade."""
    grade, grades = annotation.get(DIMENSIONS[objective]), GRADES[objective]
    if not isinstance(grade, str) or grade not in grades:
        reason = "missing_key" if grade is None else "off_scale"
        return RowError(
            reason, DIMENSIONS[objective], f"is {grade!r}; allowed: {', '.join(grades)}"
        )
    return {
        "kind": "rating",
        **answer,
        "objective": objective,
        "annotator": "mrbench",
        "rating": grades[grade],
        "scale": [min(grades.values()), max(grades.values())],
    }


def messages(history: str) -> list[Turn]:
    """Converts a transcript to the prompt of a tutor."""
    parts = SPEAKER.split(history)
    return tutor_prompt(
        (ROLES[speaker], words) for speaker, words in zip(parts[1::2], parts[2::2], strict=True)
    )
