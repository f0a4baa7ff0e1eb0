r"""TruthfulQA's human labels of truth and informativeness: two objectives that fight over the answers to one question.

`path` is a folder with two JSON Lines files. A line of `finetune_truth.jsonl` is

    {"prompt": "Q: <question>\nA: <answer>\nTrue:", "completion": " yes" | " no"}

and one of `finetune_info.jsonl` the same with `Helpful:`. It becomes a binary label of `truthful` or `informative`, and
`source_line` counts in the file of its objective. Each question becomes a prompt of domain `truth`, on the line that
first asks it. An answer on which all labels are yes, in both files, may become a demonstration, on its first line in
the truth file. Answers that carry both labels are left to `prepare`, which finds contradictions and duplicates.

Options cap what is read, evenly over questions, by the order of hashes (the same whatever the order of the lines):
`questions` (all), `answers` of each question (all), `demonstrations` of each question (0).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations.files import json_lines
from concord.annotations.interchange import content_hash
from concord.annotations.record import GivenOptions, Record, RowError
from concord.stage.params import FORBID, section

DOMAIN = "truth"
FILES = {"truthful": "finetune_truth.jsonl", "informative": "finetune_info.jsonl"}
PROMPT = re.compile(r"Q: (?P<question>.*?)\nA:(?P<answer>.*)\n(?:True|Helpful):", re.DOTALL)
LABELS = {"yes": 1, "no": 0}


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    questions: Annotated[int, Field(ge=1)] | None = None
    """How many questions; null for all."""
    answers: Annotated[int, Field(ge=2)] | None = None
    """How many different answers of each question; null for all."""
    demonstrations: Annotated[int, Field(ge=0)] = field(default=0)
    """How many true and informative answers of each question to imitate."""


class Label(NamedTuple):
    """One line of a file."""

    objective: str
    record: Record
    question: str
    answer: str
    label: int


def read(path: Path, given: GivenOptions) -> Iterator[Record]:
    """Prompts, labels and demonstrations of a folder; lines of another form come as rejected Records."""
    options = section(Options, dict(given), "options")
    labels: list[Label] = []
    for objective, name in FILES.items():
        for record in json_lines(path / name, name):
            item = record if record.row is None else label(objective, record)
            if isinstance(item, Record):
                yield item
            else:
                labels.append(item)
    kept = select(labels, options)
    yield from prompts(kept)
    yield from (item.record.becomes(binary(item)) for item in kept)
    yield from demonstrations(kept, options.demonstrations)


def label(objective: str, record: Record) -> Label | Record:
    """A line's label, or the record rejected."""
    row = record.row or {}
    for key in ("prompt", "completion"):
        if not isinstance(row.get(key), str):
            reason = "wrong_type" if key in row else "missing_key"
            return record.becomes(RowError(reason, key, f"must be text, but is {row.get(key)!r}"))
    parts, said = PROMPT.fullmatch(row["prompt"]), row["completion"].strip()
    if parts is None:
        unlike = "does not read 'Q: ...', 'A: ...' and 'True:' or 'Helpful:'"
        return record.becomes(RowError("wrong_type", "prompt", unlike))
    if said not in LABELS:
        return record.becomes(RowError("off_scale", "completion", f"is {said!r}; allowed: yes, no"))
    return Label(
        objective, record, parts["question"].strip(), parts["answer"].strip(), LABELS[said]
    )


def select(labels: Iterable[Label], options: Options) -> list[Label]:
    """The labels of the first questions and answers by hash, in the order in which they came."""
    answers: dict[str, set[str]] = {}
    for item in labels:
        answers.setdefault(item.question, set()).add(item.answer)
    questions = sorted(answers, key=content_hash)[: options.questions]
    kept = {
        (question, answer)
        for question in questions
        for answer in sorted(answers[question], key=lambda answer: content_hash(question, answer))[
            : options.answers
        ]
    }
    return [item for item in labels if (item.question, item.answer) in kept]


def shared(item: Label) -> dict[str, Any]:
    """What every row about a question has."""
    return {
        "group_id": content_hash(item.question),
        "messages": [{"role": "user", "content": item.question}],
    }


def binary(item: Label) -> dict[str, Any]:
    """The label as a row."""
    judged = {
        "objective": item.objective,
        "response": item.answer,
        "label": item.label,
        "annotator": "truthfulqa",
    }
    return {"kind": "binary", **shared(item), **judged}


def prompts(labels: Iterable[Label]) -> Iterator[Record]:
    """Each question once."""
    first = {item.question: item for item in reversed(list(labels))}
    for item in sorted(first.values(), key=lambda item: (item.objective, item.record.line)):
        yield item.record.becomes(
            {"kind": "prompt", **shared(item), "domain": DOMAIN, "reference": None}
        )


def demonstrations(labels: list[Label], count: int) -> Iterator[Record]:
    """Up to `count` answers of each question on which every label is yes, the first by hash."""
    found: dict[tuple[str, str], dict[str, set[int]]] = {}
    first: dict[tuple[str, str], Label] = {}
    for item in labels:
        key = (item.question, item.answer)
        found.setdefault(key, {}).setdefault(item.objective, set()).add(item.label)
        first.setdefault(key, item)
    good = [
        key
        for key, seen in found.items()
        if key[1] and seen == {objective: {1} for objective in FILES}
    ]
    taken: dict[str, int] = {}
    for key in sorted(good, key=lambda key: content_hash(*key)):
        taken[key[0]] = taken.get(key[0], 0) + 1
        if taken[key[0]] <= count:
            row = {**shared(first[key]), "response": key[1], "domain": DOMAIN, "author": "unknown"}
            yield first[key].record.becomes({"kind": "demonstration", **row})
