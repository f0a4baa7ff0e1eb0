r"""GSM8K: grade-school problems with graded solutions of four models, and solutions told with guiding questions.

`path` is a folder with JSON Lines files; line n of the three test files is about the same problem.

    test.jsonl                     {"question", "answer": "step\nstep\n#### 18"}
    test_socratic.jsonl            {"question", "answer": "question? ** step\n...\n#### 18"}
    example_model_solutions.jsonl  {"question", "ground_truth",
                                    "<model>": {"is_correct": true, "solution": "step\nA: 18"}, ...}
    train.jsonl                    as test.jsonl; read only for demonstrations

- A problem of the test files is a group and a prompt of domain `math` with its answer as reference.
- A graded solution is a binary label of `math_accuracy`; the model that wrote it stands in the extra key `author`.
- On half of the problems (those whose hash is even) the socratic telling is preferred to the plain one: a comparison of
  `math_engagement`. Both give the same steps, so that only the guiding questions differ.
- A training problem's solution is a demonstration.

All solutions are brought into one form: steps apart by blank lines, calculator notes `<<3*4=12>>` removed, the answer
last as `\boxed{18}` (a model's solution without an answer stays without). `source_line` counts in the file that the row
came from.

Options: `problems` of the test files (by the order of hashes; null for all), `demonstrations` (0).
"""

import re
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations.files import json_lines
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
NOTE = re.compile(r"<<[^<>\n]*>>")
ANSWER = re.compile(r"\s*(?:^|\n)\s*(?:####|A:)\s*(?P<answer>[^\n]*?)\s*$")
GUIDE = " ** "


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    problems: Annotated[int, Field(ge=1)] | None = None
    """How many problems of the test files; null for all."""
    demonstrations: Annotated[int, Field(ge=0)] = field(default=0)
    """How many solutions of training problems to imitate."""


def read(path: Path, given: GivenOptions) -> Iterator[Record]:
    """Prompts, grades, comparisons and demonstrations; lines of another form come as rejected Records."""
    options = section(Options, dict(given), "options")
    files = {
        name: [texts(record, needed) for record in json_lines(path / name, name)]
        for name, needed in NEEDED.items()
    }
    plain = {row["question"]: row["answer"] for row in good(files[TEST])}
    kept = set(sorted(plain, key=content_hash)[: options.problems])
    for name, build in ((TEST, prompts), (GRADED, grades), (SOCRATIC, comparisons)):
        for record in files[name]:
            if record.row is None:
                yield record
            elif record.row["question"] not in plain:
                yield record.becomes(
                    RowError("missing_key", "question", f"the problem does not stand in {TEST}")
                )
            elif record.row["question"] in kept:
                yield from build(record, record.row, plain)
    if options.demonstrations:
        yield from demonstrations(path / TRAIN, options.demonstrations)


NEEDED = {
    TEST: ("question", "answer"),
    GRADED: ("question", "ground_truth"),
    SOCRATIC: ("question", "answer"),
}


def texts(record: Record, needed: tuple[str, ...]) -> Record:
    """`record`, rejected unless the keys `needed` hold text."""
    for key in needed:
        if record.row is not None and not isinstance(record.row.get(key), str):
            reason = "wrong_type" if key in record.row else "missing_key"
            return record.becomes(RowError(reason, key, "must be text"))
    return record


def good(records: list[Record]) -> list[dict[str, Any]]:
    """The rows that are there."""
    return [record.row for record in records if record.row is not None]


def shared(question: str) -> dict[str, Any]:
    """What every row about a problem has."""
    return {
        "group_id": content_hash(question),
        "messages": [{"role": "user", "content": question.strip()}],
    }


def prompts(record: Record, row: dict[str, Any], plain: dict[str, str]) -> Iterator[Record]:
    """The problem with its answer."""
    reference = answer(row["answer"])
    yield record.becomes(
        {"kind": "prompt", **shared(row["question"]), "domain": DOMAIN, "reference": reference}
    )


def grades(record: Record, row: dict[str, Any], plain: dict[str, str]) -> Iterator[Record]:
    """A label for each model's solution."""
    for author, graded in row.items():
        if author in ("question", "ground_truth"):
            continue
        if not isinstance(graded, dict) or not isinstance(graded.get("is_correct"), bool):
            yield record.becomes(
                RowError("wrong_type", author, "must be {is_correct: true or false, solution}")
            )
            continue
        solution = graded.get("solution")
        response = solved(solution) if isinstance(solution, str) else solution
        judged = {"objective": "math_accuracy", "annotator": "gsm8k", "author": author}
        made = {
            **shared(row["question"]),
            "response": response,
            "label": int(graded["is_correct"]),
            **judged,
        }
        yield record.becomes({"kind": "binary", **made})


def comparisons(record: Record, row: dict[str, Any], plain: dict[str, str]) -> Iterator[Record]:
    """The socratic telling over the plain one, for every other problem."""
    question = row["question"]
    if int(content_hash(question), 16) % 2:
        return
    told = {"a": solved(row["answer"]), "b": solved(plain[question]), "preferred": "a"}
    judged = {"objective": "math_engagement", "annotator": "socratic"}
    yield record.becomes({"kind": "comparison", **shared(question), **told, **judged})


def demonstrations(path: Path, count: int) -> Iterator[Record]:
    """The first `count` training problems by hash."""
    records = [texts(record, NEEDED[TEST]) for record in json_lines(path, path.name)]
    chosen = set(sorted((row["question"] for row in good(records)), key=content_hash)[:count])
    for record in records:
        if record.row is None:
            yield record
        elif record.row["question"] in chosen:
            told = {"response": solved(record.row["answer"]), "domain": DOMAIN, "author": "gsm8k"}
            yield record.becomes(
                {"kind": "demonstration", **shared(record.row["question"]), **told}
            )


def answer(text: str) -> str | None:
    """The final answer of a solution without commas, or None where it gives none."""
    found = ANSWER.search(text)
    return found["answer"].replace(",", "").strip() or None if found else None


def solved(text: str) -> str:
    r"""A solution in the common form: 'Half is 8/2=<<8/2=4>>4\n#### 4' becomes 'Half is 8/2=4\n\n\boxed{4}'."""
    final, body = answer(text), NOTE.sub("", ANSWER.sub("", text))
    steps = [step.replace(GUIDE, " ").strip() for step in body.split("\n")]
    closing = [] if final is None else [rf"\boxed{{{final}}}"]
    return "\n\n".join([*(step for step in steps if step), *closing])
