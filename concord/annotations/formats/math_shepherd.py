r"""Math-Shepherd: solutions of GSM8K and MATH problems with automatic step labels.

Reads https://huggingface.co/datasets/peiyi9979/Math-Shepherd (arXiv 2312.08935):

    {"input": "<problem> Step 1: ... ки\nStep 2: ... The answer is: 52 ки",
     "label": "<problem> Step 1: ... +\nStep 2: ... The answer is: 52 -", "task": "GSM8K"}

The two texts differ only in the mark after each step. The mark is + if at least one completion
sampled from there reached the correct answer, and - if none did. So the labels are not human, and a
wrong step can be labelled +.

Makes:

- Step labels: 1 for +, 0 for -. Their `label_kind` is `hard_estimation`, the paper's term.
- With `outcome`, a binary label of the final answer: the mark of the last step, if that step
  contains "The answer is".
- With `prompts`, a prompt without reference.

The problem is the text before "Step 1:", and the group. Steps are stripped and separated by blank
lines. "Step 1:" and calculator annotations such as <<5+8=13>> are kept.

Options:
- `objective`: the objective of the step labels. Required.
- `outcome`: the objective of the labels of final answers. Default: null, no such labels.
- `prompts`: whether each row's problem also becomes a prompt. Default: false.
"""

import re
from collections.abc import Iterator
from typing import Any

from concord.annotations import solutions
from concord.annotations.fields import text
from concord.annotations.record import RowError
from concord.annotations.shapes import Row, Shape
from concord.annotations.solutions import Options

TAG = "ки"
MARKS = {"+": 1.0, "-": 0.0}
FIRST = re.compile(r"\bstep 1\s*:", re.IGNORECASE)
CLOSING = "The answer is"


def is_tagged(row: Row) -> bool:
    """Whether a row has tags after its steps."""
    return isinstance(row["input"], str) and TAG in row["input"]


SHAPES = (
    Shape(
        ("input", "label"),
        {"objective": "math_accuracy", "prompts": True},
        is_tagged,
        extra=3,
    ),
)


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """Yields the annotations of a solution."""
    pieces, labels = split_at_marks(text(row, "input"), text(row, "label"))
    first = FIRST.search(pieces[0])
    if first is None:
        raise RowError(
            "wrong_type",
            "input",
            "has no 'Step 1:' before the first mark, so the solution's beginning is unknown",
        )
    problem = solutions.problem(pieces[0][: first.start()].strip())
    steps = [piece.strip() for piece in [pieces[0][first.start() :], *pieces[1:]]]
    yield solutions.labelled_steps(problem, steps, labels, options.objective, "hard_estimation")
    if options.outcome is not None and CLOSING in steps[-1]:
        yield solutions.graded_answer(
            problem, steps, labels[-1] == 1, options.outcome, "math_shepherd"
        )
    if options.prompts:
        yield solutions.prompt(problem, None)


def split_at_marks(tagged: str, marked: str) -> tuple[list[str], list[float]]:
    """Splits the key `input` at its tags and reads the labels from the key `label`.

    Raises RowError unless `marked` is `tagged` with a mark in place of each tag.

    Examples:
        >>> split_at_marks("Step 1: 5. ки Step 2: 6. ки", "Step 1: 5. + Step 2: 6. -")
        (['Step 1: 5. ', ' Step 2: 6. '], [1.0, 0.0])
    """
    *pieces, rest = tagged.split(TAG)
    if not pieces or rest.strip():
        raise RowError("wrong_type", "input", f"does not end with {TAG!r}, as every step must")
    start = 0
    labels: list[float] = []
    for piece in pieces:
        mark = start + len(piece)
        if marked[start:mark] != piece or marked[mark : mark + 1] not in MARKS:
            raise RowError(
                "wrong_type",
                "label",
                f"differs from the input before mark {len(labels) + 1}, or the mark is not + or -",
            )
        labels.append(MARKS[marked[mark]])
        start = mark + 1
    if marked[start:].strip():
        raise RowError("wrong_type", "label", "contains text after the input's last mark")
    return pieces, labels
