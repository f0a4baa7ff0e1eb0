"""ProcessBench: solutions of four problem sets in which experts marked the first wrong step.

Reads https://huggingface.co/datasets/Qwen/ProcessBench (arXiv 2412.06559):

    {"id": "gsm8k-0", "generator": "<model>", "problem": "...", "steps": ["...", ...],
     "final_answer_correct": false, "label": 1}

`label` is the index of the first wrong step, from 0, or -1 if there is none.

Makes:

- Step labels: 1 before the first wrong step, 0 for it, and null after it, because nobody judged
  those steps.
- With `outcome`, a binary label of the final answer. A solution with a wrong step can still reach
  the correct answer.
- With `prompts`, a prompt of the domain `math` without reference.

The problem is the group. The extra key `author` names the model that wrote the solution.

Options:
- `objective`: the objective of the step labels. Required.
- `outcome`: the objective of the labels of final answers. Default: null, no such labels.
- `prompts`: whether each row's problem also becomes a prompt. Default: false.
"""

from collections.abc import Iterator
from typing import Any

from concord.annotations import solutions
from concord.annotations.fields import boolean, integer, text, texts
from concord.annotations.record import RowError
from concord.annotations.shapes import Shape
from concord.annotations.solutions import Options

SHAPES = (
    Shape(
        ("problem", "steps", "label", "generator"),
        {"objective": "math_accuracy", "prompts": True},
    ),
)


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """Yields the annotations of a solution."""
    steps, first = texts(row, "steps"), integer(row, "label")
    if not -1 <= first < len(steps):
        raise RowError(
            "off_scale",
            "label",
            f"is {first}; allowed: -1, or the index of one of {len(steps)} steps",
        )
    problem = {**solutions.problem(text(row, "problem")), "author": text(row, "generator")}
    labels = solutions.labels_until_error(len(steps), None if first == -1 else first)
    yield solutions.labelled_steps(problem, steps, labels, options.objective)
    if options.outcome is not None:
        correct = boolean(row, "final_answer_correct")
        yield solutions.graded_answer(problem, steps, correct, options.outcome, "processbench")
    if options.prompts:
        yield solutions.prompt(problem, None)
