"""ProcessBench: solutions of four sets of problems in which experts marked the first wrong step.

    {"id": "gsm8k-0", "generator": "<model>", "problem": "...", "steps": ["...", ...],
     "final_answer_correct": false, "label": 1}

(https://huggingface.co/datasets/Qwen/ProcessBench; arXiv 2412.06559.) `label` is the index, from 0, of the first wrong
step, or -1 where there is none. The steps before it are labelled 1, it 0, and those after it not at all, since nobody
judged them. A solution may reach the right answer in spite of a wrong step. The problem is the group; there is no
reference answer; the model that wrote the solution stands in the extra key `author`.

Options: `objective` (of the steps), `outcome` (that of the final answer; none), `prompts` (whether each row's problem
is a prompt too; false).
"""

from collections.abc import Iterator
from typing import Any

from concord.annotations import solutions
from concord.annotations.fields import text, texts, truth, whole
from concord.annotations.record import RowError
from concord.annotations.solutions import Options


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """What a row tells of a solution."""
    steps, first = texts(row, "steps"), whole(row, "label")
    if not -1 <= first < len(steps):
        raise RowError(
            "off_scale",
            "label",
            f"is {first}; allowed: -1, or the index of one of {len(steps)} steps",
        )
    asked = {**solutions.problem(text(row, "problem")), "author": text(row, "generator")}
    labels = solutions.until_error(len(steps), None if first == -1 else first)
    yield solutions.labelled(asked, steps, labels, options.objective)
    if options.outcome is not None:
        right = truth(row, "final_answer_correct")
        yield solutions.graded(asked, steps, right, options.outcome, "processbench")
    if options.prompts:
        yield solutions.prompt(asked, None)
