r"""GSM8K: grade-school math problems, solutions of four models with grades, socratic solutions.

Reads a folder with the files of https://github.com/openai/grade-school-math (arXiv 2110.14168):

    test.jsonl                     {"question": "...", "answer": "step\nstep\n#### 18"}
    test_socratic.jsonl            {"question": "...", "answer": "question? ** step\n#### 18"}
    example_model_solutions.jsonl  {"question": "...", "ground_truth": "...",
                                    "<model>": {"is_correct": true, "solution": "step\nA: 18"},
                                    ...}
    train.jsonl                    like test.jsonl; only read for demonstrations

Makes:

- A prompt of the domain `math` for each test problem, with its answer as the reference. The problem
  is the group.
- A binary label of `math_accuracy` for each solution of a model. The key `author` names the model.
- For the half of the problems whose hash is even, a comparison of `math_engagement`: the socratic
  solution is preferred to the plain one. Both contain the same steps, so they differ only in the
  guiding questions.
- Demonstrations from the training problems.

All solutions are converted to one form: steps separated by blank lines, calculator annotations such
as `<<3*4=12>>` removed, and the answer last as `\boxed{18}`. A model's solution without an answer
has no box. `source_line` is the line in the file that the row came from.

Options:
- `problems`: the number of test problems, in the order of their hashes. Default: null, all.
- `demonstrations`: the number of training problems to imitate. Default: 0.
"""

import re
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations.files import counted
from concord.annotations.interchange import content_hash
from concord.annotations.record import GivenOptions, Record, RowError
from concord.stage.params import FORBID, section

DOMAIN = "math"
TEST, SOCRATIC, GRADED, TRAIN = (
    "test.jsonl",
    "test_socratic.jsonl",
    "example_model_solutions.jsonl",
    "train.jsonl",
)
KEYS = {
    TEST: ("question", "answer"),
    GRADED: ("question", "ground_truth"),
    SOCRATIC: ("question", "answer"),
}
"""File -> the keys that must hold text."""
FOLDER = tuple(KEYS)
"""Files by which the folder is recognised."""
NOTE = re.compile(r"<<[^<>\n]*>>")
ANSWER = re.compile(r"\s*(?:^|\n)\s*(?:####|A:)\s*(?P<answer>[^\n]*?)\s*$")
GUIDE = " ** "
"""Separates a guiding question from its step."""


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    problems: Annotated[int, Field(ge=1)] | None = None
    """The number of test problems, in the order of their hashes; null for all."""
    demonstrations: Annotated[int, Field(ge=0)] = field(default=0)
    """The number of training problems whose solutions are demonstrations."""


def read(path: Path, given: GivenOptions) -> Iterator[Record]:
    """Yields the annotations of a folder, and its invalid lines as rejected Records."""
    options = section(Options, dict(given), "options")
    records = {
        name: [check_texts(record, keys) for record in counted(path / name, name)]
        for name, keys in KEYS.items()
    }
    answers = {row["question"]: row["answer"] for row in valid_rows(records[TEST])}
    kept = set(sorted(answers, key=content_hash)[: options.problems])
    for name, build in ((TEST, prompts), (GRADED, grades), (SOCRATIC, comparisons)):
        for record in records[name]:
            if record.row is None:
                yield record
            elif record.row["question"] not in answers:
                yield record.with_result(
                    RowError("missing_key", "question", f"the problem is not in {TEST}")
                )
            elif record.row["question"] in kept:
                yield from build(record, record.row, answers)
    if options.demonstrations:
        yield from demonstrations(path / TRAIN, options.demonstrations)


def files(path: Path, given: GivenOptions) -> dict[str, Path]:
    """The files of a folder that are read."""
    options = section(Options, dict(given), "options")
    names = [*KEYS, TRAIN] if options.demonstrations else [*KEYS]
    return {name: path / name for name in names}


def check_texts(record: Record, keys: tuple[str, ...]) -> Record:
    """The record, rejected unless all `keys` hold text."""
    for key in keys:
        if record.row is not None and not isinstance(record.row.get(key), str):
            reason = "wrong_type" if key in record.row else "missing_key"
            return record.with_result(RowError(reason, key, "must be text"))
    return record


def valid_rows(records: list[Record]) -> list[dict[str, Any]]:
    """The rows of the records that are not rejected."""
    return [record.row for record in records if record.row is not None]


def shared(question: str) -> dict[str, Any]:
    """The keys that all annotations of a problem share."""
    return {
        "group_id": content_hash(question),
        "messages": [{"role": "user", "content": question.strip()}],
    }


def prompts(record: Record, row: dict[str, Any], answers: dict[str, str]) -> Iterator[Record]:
    """Yields the problem as a prompt with its answer."""
    reference = final_answer(row["answer"])
    yield record.with_result(
        {"kind": "prompt", **shared(row["question"]), "domain": DOMAIN, "reference": reference}
    )


def grades(record: Record, row: dict[str, Any], answers: dict[str, str]) -> Iterator[Record]:
    """Yields the label of each model's solution."""
    for author, graded in row.items():
        if author in ("question", "ground_truth"):
            continue
        if not isinstance(graded, dict) or not isinstance(graded.get("is_correct"), bool):
            yield record.with_result(
                RowError("wrong_type", author, "must be {is_correct: true or false, solution}")
            )
            continue
        solution = graded.get("solution")
        yield record.with_result(
            {
                "kind": "binary",
                **shared(row["question"]),
                "response": formatted(solution) if isinstance(solution, str) else solution,
                "label": int(graded["is_correct"]),
                "objective": "math_accuracy",
                "annotator": "gsm8k",
                "author": author,
            }
        )


def comparisons(record: Record, row: dict[str, Any], answers: dict[str, str]) -> Iterator[Record]:
    """Yields, for half of the problems, the socratic solution preferred to the plain one."""
    question = row["question"]
    if int(content_hash(question), 16) % 2:
        return
    yield record.with_result(
        {
            "kind": "comparison",
            **shared(question),
            "a": formatted(row["answer"]),
            "b": formatted(answers[question]),
            "preferred": "a",
            "objective": "math_engagement",
            "annotator": "socratic",
        }
    )


def demonstrations(path: Path, count: int) -> Iterator[Record]:
    """Yields the solutions of the first `count` training problems in the order of their hashes."""
    records = [check_texts(record, KEYS[TEST]) for record in counted(path, path.name)]
    questions = sorted((row["question"] for row in valid_rows(records)), key=content_hash)
    chosen = set(questions[:count])
    for record in records:
        if record.row is None:
            yield record
        elif record.row["question"] in chosen:
            yield record.with_result(
                {
                    "kind": "demonstration",
                    **shared(record.row["question"]),
                    "response": formatted(record.row["answer"]),
                    "domain": DOMAIN,
                    "author": "gsm8k",
                }
            )


def final_answer(solution: str) -> str | None:
    r"""The final answer of a solution without commas, or None if it has none.

    Examples:
        >>> final_answer("Half of 2,408 is 1,204.\n#### 1,204")
        '1204'
    """
    match = ANSWER.search(solution)
    return match["answer"].replace(",", "").strip() or None if match else None


def formatted(solution: str) -> str:
    r"""Converts a solution to the common form.

    Examples:
        >>> formatted("Half is 8/2=<<8/2=4>>4\n#### 4")
        'Half is 8/2=4\n\n\\boxed{4}'
    """
    answer, body = final_answer(solution), NOTE.sub("", ANSWER.sub("", solution))
    steps = [step.replace(GUIDE, " ").strip() for step in body.split("\n")]
    closing = [] if answer is None else [rf"\boxed{{{answer}}}"]
    return "\n\n".join([*(step for step in steps if step), *closing])
