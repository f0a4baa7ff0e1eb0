r"""TruthfulQA: human labels of the truthfulness and informativeness of answers to one question.

The two objectives conflict: a vague answer is truthful but not informative.

Reads a folder with two JSON Lines files of https://github.com/sylinrl/TruthfulQA (arXiv
2109.07958). A line of `finetune_truth.jsonl` is

    {"prompt": "Q: <question>\nA: <answer>\nTrue:", "completion": " yes"}

with the completion " yes" or " no". In `finetune_info.jsonl`, `Helpful:` replaces `True:`.

Makes:

- A binary label of `truthful` or `informative` for each line. `source_line` is the line in the file
  of the objective.
- A prompt of the domain `truth` for each question, from the first line with it.
- Demonstrations: answers with only positive labels in both files, from their first line in the
  truth file.

The question is the group. Contradicting and repeated labels of one answer are left to `prepare`.

Options:
- `questions`: the number of questions. Default: null, all.
- `answers`: the number of distinct answers to each question. Default: null, all.
- `demonstrations`: the number of answers to each question to imitate. Default: 0.

Questions and answers are chosen in the order of their hashes, which does not depend on the order of
the lines.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations.files import counted
from concord.annotations.interchange import content_hash
from concord.annotations.record import GivenOptions, Record, RowError
from concord.stage.params import FORBID, section

DOMAIN = "truth"
FILES = {"truthful": "finetune_truth.jsonl", "informative": "finetune_info.jsonl"}
"""Objective -> its file."""
FOLDER = tuple(FILES.values())
"""Files by which the folder is recognised."""
PROMPT = re.compile(r"Q: (?P<question>.*?)\nA:(?P<answer>.*)\n(?:True|Helpful):", re.DOTALL)
LABELS = {"yes": 1, "no": 0}


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    questions: Annotated[int, Field(ge=1)] | None = None
    """The number of questions, in the order of their hashes; null for all."""
    answers: Annotated[int, Field(ge=2)] | None = None
    """The number of distinct answers to each question, in the order of their hashes; null for
    all."""
    demonstrations: Annotated[int, Field(ge=0)] = field(default=0)
    """The number of truthful and informative answers to each question that are demonstrations."""


class Label(NamedTuple):
    """One line of a file."""

    objective: str
    record: Record
    question: str
    answer: str
    label: int


def read(path: Path, given: GivenOptions) -> Iterator[Record]:
    """Yields the annotations of a folder, and its invalid lines as rejected Records."""
    options = section(Options, dict(given), "options")
    labels: list[Label] = []
    for objective, name in FILES.items():
        for record in counted(path / name, name):
            item = record if record.row is None else parse_label(objective, record)
            if isinstance(item, Record):
                yield item
            else:
                labels.append(item)
    kept = select(labels, options)
    yield from prompts(kept)
    yield from (item.record.with_result(binary(item)) for item in kept)
    yield from demonstrations(kept, options.demonstrations)


def files(path: Path, given: GivenOptions) -> dict[str, Path]:
    """The files of a folder that are read."""
    return {name: path / name for name in FILES.values()}


def parse_label(objective: str, record: Record) -> Label | Record:
    """The label of a line, or the record rejected."""
    row = record.row or {}
    for key in ("prompt", "completion"):
        if not isinstance(row.get(key), str):
            reason = "wrong_type" if key in row else "missing_key"
            return record.with_result(
                RowError(reason, key, f"must be text, but is {row.get(key)!r}")
            )
    parts, completion = PROMPT.fullmatch(row["prompt"]), row["completion"].strip()
    if parts is None:
        detail = "must consist of 'Q: ...', 'A: ...' and 'True:' or 'Helpful:'"
        return record.with_result(RowError("wrong_type", "prompt", detail))
    if completion not in LABELS:
        detail = f"is {completion!r}; allowed: yes, no"
        return record.with_result(RowError("off_scale", "completion", detail))
    question, answer = parts["question"].strip(), parts["answer"].strip()
    return Label(objective, record, question, answer, LABELS[completion])


def select(labels: Iterable[Label], options: Options) -> list[Label]:
    """The labels of the first questions and answers by hash, in their original order."""
    answers: dict[str, set[str]] = {}
    for item in labels:
        answers.setdefault(item.question, set()).add(item.answer)
    kept: set[tuple[str, str]] = set()
    for question in sorted(answers, key=content_hash)[: options.questions]:
        by_hash = sorted((content_hash(question, answer), answer) for answer in answers[question])
        kept.update((question, answer) for _, answer in by_hash[: options.answers])
    return [item for item in labels if (item.question, item.answer) in kept]


def shared(item: Label) -> dict[str, Any]:
    """The keys that all annotations of a question share."""
    return {
        "group_id": content_hash(item.question),
        "messages": [{"role": "user", "content": item.question}],
    }


def binary(item: Label) -> dict[str, Any]:
    """The label as an annotation."""
    return {
        "kind": "binary",
        **shared(item),
        "objective": item.objective,
        "response": item.answer,
        "label": item.label,
        "annotator": "truthfulqa",
    }


def prompts(labels: Iterable[Label]) -> Iterator[Record]:
    """Yields each question once."""
    first = {item.question: item for item in reversed(list(labels))}
    for item in sorted(first.values(), key=lambda item: (item.objective, item.record.line)):
        yield item.record.with_result(
            {"kind": "prompt", **shared(item), "domain": DOMAIN, "reference": None}
        )


def demonstrations(labels: list[Label], count: int) -> Iterator[Record]:
    """Yields up to `count` answers to each question, by hash, that have only positive labels."""
    labels_of: dict[tuple[str, str], dict[str, set[int]]] = {}
    first: dict[tuple[str, str], Label] = {}
    for item in labels:
        key = (item.question, item.answer)
        labels_of.setdefault(key, {}).setdefault(item.objective, set()).add(item.label)
        first.setdefault(key, item)
    all_positive = {objective: {1} for objective in FILES}
    good = [key for key, given in labels_of.items() if key[1] and given == all_positive]
    taken: dict[str, int] = {}
    for question, answer in sorted(good, key=lambda key: content_hash(*key)):
        taken[question] = taken.get(question, 0) + 1
        if taken[question] <= count:
            item = first[question, answer]
            yield item.record.with_result(
                {
                    "kind": "demonstration",
                    **shared(item),
                    "response": answer,
                    "domain": DOMAIN,
                    "author": "unknown",
                }
            )
