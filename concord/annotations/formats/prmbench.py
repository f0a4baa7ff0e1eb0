"""PRMBench: correct solutions of PRM800K, and versions in which a model inserted errors.

Reads the files of https://github.com/ssmisya/PRMBench (arXiv 2501.03124), an evaluation set:

    {"idx": "prm_test_p1_0", "classification": "circular", "question": "...",
     "original_question": "...", "original_process": ["...", ...],
     "modified_question": "...", "modified_process": ["...", ...], "modified_steps": [3, 4, 5, 6],
     "error_steps": [3, 4, 5], "reason": "..."}

`classification` is the class of the errors. `error_steps` counts from 1. Rows of the class
multi_solutions have no errors: their modified solution is another correct one.

Makes:

- Step labels of the original solution, all 1.
- Step labels of the modified solution, with the modified question as its prompt: 0 for the steps in
  `error_steps`, else 1. Steps after the first error are labelled too, as in PRMBench's own
  evaluation. Of those, 22% are errors again and 43% also occur in the original solution (measured
  on 4,852 rows). A step that merely follows from an error counts as correct.
- With `prompts`, a prompt of the domain `math` for each row of the class multi_solutions, the only
  class that contains the correct answer. No row says whether a final answer is correct.

The extra key `variant` is original or modified, and `classification` is an extra key too. Steps are
not changed: some rows number them, some contain blank lines in them.

Rows with an error step beyond the last step are rejected (100 of 6,216), and so are modified
solutions with errors that equal the original one (4). Each class repeats the original solution or
rewords it; `prepare` removes duplicates. The group is `question`, which all classes and rewordings
share.

Options:
- `objective`: the objective of the step labels. Required. To let several objectives learn from
  different classes, give each its own source.
- `classes`: the classes to read. Default: all nine.
- `prompts`: whether rows with the correct answer also become prompts. Default: false.
"""

from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, Any, Literal, get_args

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations import solutions
from concord.annotations.fields import integer, items, one_of, text, texts
from concord.annotations.interchange import content_hash
from concord.annotations.record import RowError
from concord.annotations.shapes import Shape
from concord.stage.params import FORBID

Class = Literal[
    "redundency",
    "circular",
    "counterfactual",
    "step_contradiction",
    "domain_inconsistency",
    "confidence",
    "missing_condition",
    "deception",
    "multi_solutions",
]
CLASSES: dict[str, Class] = {name: name for name in get_args(Class)}
WITHOUT_ERRORS = "multi_solutions"
INJECTED = "injected"
"""Label kind of steps with inserted errors."""
SHAPES = (
    Shape(
        ("original_process", "modified_process", "error_steps"),
        {"objective": "math_accuracy", "prompts": True},
    ),
)


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    objective: str
    """The objective of the step labels."""
    classes: Annotated[list[Class], Field(min_length=1)] = field(
        default_factory=lambda: list(CLASSES.values())
    )
    """The classes of errors to read."""
    prompts: bool = False
    """Whether rows with the correct answer also become prompts of the domain `math`."""


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any] | RowError]:
    """Yields the original and the modified solution of a row."""
    classification = one_of(row, "classification", CLASSES)
    if classification not in options.classes:
        return
    group = content_hash(text(row, "question"))
    before, after = texts(row, "original_process"), texts(row, "modified_process")
    errors = error_steps(row, len(after))
    original = {
        **solutions.problem(text(row, "original_question"), group),
        "classification": classification,
        "variant": "original",
    }
    all_correct = solutions.labels_until_error(len(before), None)
    yield solutions.labelled_steps(original, before, all_correct, options.objective, INJECTED)
    if errors and before == after:
        yield RowError(
            "contradiction",
            "modified_process",
            "equals the original solution, but the row has error steps",
        )
    else:
        modified = {
            **solutions.problem(text(row, "modified_question"), group),
            "classification": classification,
            "variant": "modified",
        }
        labels = [0.0 if number in errors else 1.0 for number in range(1, len(after) + 1)]
        yield solutions.labelled_steps(modified, after, labels, options.objective, INJECTED)
    if options.prompts and row.get("ground_truth") is not None:
        yield solutions.prompt(original, text(row, "ground_truth"))


def error_steps(row: dict[str, Any], steps: int) -> set[int]:
    """The numbers of the wrong steps, from 1.

    Raises RowError for a number beyond `steps`. A row without errors must have none, and any other
    row at least one.
    """
    errors = {
        integer({"error_steps": number}, "error_steps") for number in items(row, "error_steps")
    }
    outside = sorted(number for number in errors if not 1 <= number <= steps)
    if outside:
        raise RowError(
            "off_scale",
            "error_steps",
            f"contains {outside}, but the modified solution has {steps} steps",
        )
    if bool(errors) == (row["classification"] == WITHOUT_ERRORS):
        expected = "none" if errors else "at least one"
        raise RowError(
            "wrong_type",
            "error_steps",
            f"contains {len(errors)} steps; the class {row['classification']} needs {expected}",
        )
    return errors
