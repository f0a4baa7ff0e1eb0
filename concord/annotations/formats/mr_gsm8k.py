"""MR-GSM8K: solutions of GSM8K problems and variations in which people marked the first wrong step.

Reads the files of https://github.com/dvlab-research/MR-GSM8K (arXiv 2312.17080):

    {"uuid": "...", "question": "...", "question_type": "original", "ground_truth_answer": "18",
     "ground_truth_solution": "...", "model_output_steps": ["Step 1: ...", ...],
     "model_output_answer_correctness": "wrong", "model_output_solution_correctness": "wrong",
     "model_output_solution_first_error_step": 3,
     "model_output_solution_first_error_reason": "..."}

`question_type` is original, reversed or POT (solutions that are programs); it becomes the extra key
`question_type`. The first wrong step is counted from 1.

Makes:

- Step labels: 1 before the first wrong step, 0 for it, and null after it. All steps of a correct
  solution are labelled 1.
- With `outcome`, a binary label of the final answer. A solution with a wrong step can still reach
  the correct answer.
- With `prompts`, a prompt of the domain `math` with the answer as the reference.

For some reversed problems, `ground_truth_answer` is a sentence. The correctness of their answers
was determined by comparison with it, so these rows make neither a label of the final answer nor a
prompt.

A reversed problem hides a number of an original problem, states the answer instead and asks for the
number. Both belong to one group: the first eight words of the problem, without numbers and `x`. 98%
of the 187 reversed problems are matched with their GSM8K problem in this way, and hardly any two
different problems are.

Options:
- `objective`: the objective of the step labels. Required.
- `outcome`: the objective of the labels of final answers. Default: null, no such labels.
- `prompts`: whether each row's problem also becomes a prompt with its answer. Default: false.
- `types`: the types of question to read. Default: original, reversed and POT.
"""

import re
from collections.abc import Iterator
from dataclasses import field
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from concord.annotations import solutions
from concord.annotations.fields import integer, one_of, required, shorten, text, texts
from concord.annotations.interchange import content_hash
from concord.annotations.record import RowError
from concord.annotations.shapes import Shape
from concord.stage.params import FORBID

RIGHT = {"correct": True, "wrong": False}
TYPES = {name: name for name in ("original", "reversed", "POT")}
NUMBER = re.compile(r"-?[\d,]*\d(\.\d+)?")
WORD = re.compile(r"[a-z']+")
OPENING = 8
"""The number of words that identify a problem and its variations."""
SHAPES = (
    Shape(
        ("question", "model_output_steps", "model_output_solution_correctness"),
        {"objective": "math_accuracy", "prompts": True},
    ),
)


@dataclass(frozen=True, config=FORBID)
class Options(solutions.Options):
    """Options of a source in this format."""

    types: list[Literal["original", "reversed", "POT"]] = field(
        default_factory=lambda: ["original", "reversed", "POT"]
    )
    """The types of question to read."""


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any] | RowError]:
    """Yields the annotations of a solution."""
    if one_of(row, "question_type", TYPES) not in options.types:
        return
    question, steps = text(row, "question"), texts(row, "model_output_steps")
    problem = {
        **solutions.problem(question, problem_group(question)),
        "question_type": row["question_type"],
    }
    labels = solutions.labels_until_error(len(steps), first_error(row, len(steps)))
    yield solutions.labelled_steps(problem, steps, labels, options.objective)
    answer = str(required(row, "ground_truth_answer"))
    if options.outcome is not None:
        correct = one_of(row, "model_output_answer_correctness", RIGHT)
        yield check_number(answer) or solutions.graded_answer(
            problem, steps, correct, options.outcome, "mr_gsm8k"
        )
    if options.prompts:
        yield check_number(answer) or solutions.prompt(problem, answer)


def first_error(row: dict[str, Any], steps: int) -> int | None:
    """The index of the first wrong step, from 0, or None for a correct solution."""
    if one_of(row, "model_output_solution_correctness", RIGHT):
        return None
    first = integer(row, "model_output_solution_first_error_step")
    if not 1 <= first <= steps:
        raise RowError(
            "off_scale",
            "model_output_solution_first_error_step",
            f"is {first}, but the solution has {steps} steps",
        )
    return first - 1


def check_number(answer: str) -> RowError | None:
    """An error unless the answer is a number, as a reference must be."""
    if NUMBER.fullmatch(answer):
        return None
    return RowError(
        "wrong_type", "ground_truth_answer", f"must be a number, but is {shorten(answer)}"
    )


def problem_group(question: str) -> str:
    """The group that a problem and its variations share: a hash of its first words.

    Examples:
        >>> original = "Ann has 2 red pears and buys 3 green ones. How many has she?"
        >>> reversed_ = "Ann has x red pears and buys 3 green ones. If she has 5, what is x?"
        >>> problem_group(original) == problem_group(reversed_)
        True
    """
    words = [word for word in WORD.findall(question.lower()) if word != "x"]
    return content_hash(words[:OPENING])
