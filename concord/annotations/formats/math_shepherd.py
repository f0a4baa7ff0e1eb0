r"""Math-Shepherd: solutions of GSM8K and MATH problems whose steps were labelled by completing them.

    {"input": "<problem> Step 1: ... ки\nStep 2: ... The answer is: 52 ки",
     "label": "<problem> Step 1: ... +\nStep 2: ... The answer is: 52 -", "task": "GSM8K"}

(https://huggingface.co/datasets/peiyi9979/Math-Shepherd; arXiv 2312.08935.) The two texts are the same but for the mark
after each step: + (1) where at least one of the completions from there reached the right answer, - (0) where none did.
So a label is no person's and may be right in spite of a wrong step; `label_kind` is hard_estimation, as the paper calls
it. The problem is what stands before "Step 1:", and the group. Steps lose the spaces around them and are set apart by
blank lines; "Step 1:" and the calculator's notes <<5+8=13>> stay.

The last step's mark is the label of the final answer, if this step says "The answer is". There are no references.

Options: `objective` (of the steps), `outcome` (that of the final answer; none), `prompts` (whether each row's problem
is a prompt too; false).
"""

import re
from collections.abc import Iterator
from typing import Any

from concord.annotations import solutions
from concord.annotations.fields import text
from concord.annotations.record import RowError
from concord.annotations.solutions import Options

TAG = "ки"
MARKS = {"+": 1.0, "-": 0.0}
FIRST = re.compile(r"\bstep 1\s*:", re.IGNORECASE)
CLOSING = "The answer is"


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """What a row tells of a solution."""
    pieces, labels = marked(text(row, "input"), text(row, "label"))
    found = FIRST.search(pieces[0])
    if found is None:
        raise RowError(
            "wrong_type",
            "input",
            "has no 'Step 1:' before the first mark, where the solution begins",
        )
    asked = solutions.problem(pieces[0][: found.start()].strip())
    steps = [piece.strip() for piece in [pieces[0][found.start() :], *pieces[1:]]]
    yield solutions.labelled(asked, steps, labels, options.objective, "hard_estimation")
    if options.outcome is not None and CLOSING in steps[-1]:
        yield solutions.graded(asked, steps, labels[-1] == 1, options.outcome, "math_shepherd")
    if options.prompts:
        yield solutions.prompt(asked, None)


def marked(given: str, label: str) -> tuple[list[str], list[float]]:
    """The pieces of the text that the tags end, and the labels that stand in place of the tags."""
    *pieces, rest = given.split(TAG)
    if not pieces or rest.strip():
        raise RowError("wrong_type", "input", f"does not end with {TAG!r}, which ends every step")
    place = 0
    labels: list[float] = []
    for piece in pieces:
        mark = place + len(piece)
        if label[place:mark] != piece or label[mark : mark + 1] not in MARKS:
            raise RowError(
                "wrong_type",
                "label",
                f"is not the input with + or - in place of mark {len(labels) + 1}",
            )
        labels.append(MARKS[label[mark]])
        place = mark + 1
    if label[place:].strip():
        raise RowError("wrong_type", "label", "goes on after the input's last mark")
    return pieces, labels
