"""MR-GSM8K: solutions of GSM8K problems and two variations of them, in which people marked the first wrong step.

    {"uuid": "...", "question": "...", "question_type": "original" | "reversed" | "POT",
     "ground_truth_answer": "18", "ground_truth_solution": "...", "model_output_steps": ["Step 1: ...", ...],
     "model_output_answer_correctness": "correct" | "wrong", "model_output_solution_correctness": "correct" | "wrong",
     "model_output_solution_first_error_step": 3, "model_output_solution_first_error_reason": "..."}

(https://github.com/dvlab-research/MR-GSM8K; arXiv 2312.17080.) The first wrong step is counted from 1. The steps before
it are labelled 1, it 0, and those after it not at all; of a correct solution all are 1. A solution may reach the right
answer in spite of a wrong step. The solutions of type POT are programs. The type is the extra key `question_type`.

A reversed problem hides a number of an original one, gives the answer instead and asks for the number. Both belong to
one group: the problem's first eight words without numbers and `x` (98 % of the 187 reversed problems find their GSM8K
problem by that, and hardly any two problems share it).

Some reversed problems have a sentence as `ground_truth_answer`. The correctness of answers was found by comparing them
with it, so that these rows give no prompt and no label of the final answer.

Options: `objective` (of the steps), `outcome` (that of the final answer; none), `prompts` (whether each row's problem
is a prompt too, with its answer; false), `types` (of question; all three).
"""

import re
from collections.abc import Iterator
from dataclasses import field
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from concord.annotations import solutions
from concord.annotations.fields import one_of, short, text, texts, value, whole
from concord.annotations.interchange import content_hash
from concord.annotations.record import RowError
from concord.stage.params import FORBID

RIGHT = {"correct": True, "wrong": False}
TYPES = {name: name for name in ("original", "reversed", "POT")}
NUMBER = re.compile(r"-?[\d,]*\d(\.\d+)?")
WORD = re.compile(r"[a-z']+")
OPENING = 8


@dataclass(frozen=True, config=FORBID)
class Options(solutions.Options):
    """Options of a source in this format."""

    types: list[Literal["original", "reversed", "POT"]] = field(
        default_factory=lambda: ["original", "reversed", "POT"]
    )
    """Which types of question to read."""


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any] | RowError]:
    """What a row tells of a solution."""
    if one_of(row, "question_type", TYPES) not in options.types:
        return
    question, steps = text(row, "question"), texts(row, "model_output_steps")
    asked = {**solutions.problem(question, group(question)), "question_type": row["question_type"]}
    labels = solutions.until_error(len(steps), first_error(row, len(steps)))
    yield solutions.labelled(asked, steps, labels, options.objective)
    answer = str(value(row, "ground_truth_answer"))
    if options.outcome is not None:
        right = one_of(row, "model_output_answer_correctness", RIGHT)
        yield unusable(answer) or solutions.graded(asked, steps, right, options.outcome, "mr_gsm8k")
    if options.prompts:
        yield unusable(answer) or solutions.prompt(asked, answer)


def first_error(row: dict[str, Any], steps: int) -> int | None:
    """Index of the first wrong step, from 0; None in a correct solution."""
    if one_of(row, "model_output_solution_correctness", RIGHT):
        return None
    first = whole(row, "model_output_solution_first_error_step")
    if not 1 <= first <= steps:
        raise RowError(
            "off_scale",
            "model_output_solution_first_error_step",
            f"is {first}, but there are {steps} steps",
        )
    return first - 1


def unusable(answer: str) -> RowError | None:
    """Why an answer cannot be a reference, if it cannot."""
    if NUMBER.fullmatch(answer):
        return None
    return RowError(
        "wrong_type", "ground_truth_answer", f"must be a number, but is {short(answer)}"
    )


def group(question: str) -> str:
    """What a problem and its variations share: the first words, without numbers and the unknown."""
    words = [word for word in WORD.findall(question.lower()) if word != "x"]
    return content_hash(words[:OPENING])
