"""PRMBench: right solutions of PRM800K, and the same with errors of one class that a model put in.

    {"idx": "prm_test_p1_0", "classification": "circular", "question": "...",
     "original_question": "...", "original_process": ["...", ...],
     "modified_question": "...", "modified_process": ["...", ...], "modified_steps": [3, 4, 5, 6],
     "error_steps": [3, 4, 5], "reason": "..."}

(https://github.com/ssmisya/PRMBench; arXiv 2501.03124. It is meant for evaluation.) A row becomes two annotations: the
original solution, all of whose steps are labelled 1, and the modified one, answering the modified question. The extra
keys `variant` (original or modified) and `classification` tell them apart. `error_steps` counts from 1. Rows of class
multi_solutions have no errors: there the modified solution is another right one.

Each step of a modified solution was judged by itself, so that steps after the first error are labelled too: 0 if they
stand in `error_steps`, else 1. In the 4,852 rows with errors at hand, 22 % of the steps after the first error are
errors again, 43 % stand in the original solution as well, and one that only goes on from an error counts as right.
PRMBench's own evaluation takes them so.

Set aside are rows whose error index is past the end (78 of 5,017 in the files at hand, 100 of all 6,216), and modified
solutions that equal the original one (4). Steps stay as they are: some rows number them, some leave blank lines in
them. A class retells the original solution in words of its own or repeats it; `prepare` finds the repeated ones. The
group is `question`, which all classes and retellings share. Only the class multi_solutions tells the right answer, and
gives prompts; whether a solution's final answer is right no row tells.

Options: `objective` (of the steps), `classes` (which to read; all nine), `prompts` (false). Classes may be errors of
several objectives: let a source for each read its own.
"""

from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, Any, Literal, get_args

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations import solutions
from concord.annotations.fields import items, one_of, text, texts, whole
from concord.annotations.interchange import content_hash
from concord.annotations.record import RowError
from concord.stage.params import FORBID

Class = Literal[
    "redundency", "circular", "counterfactual", "step_contradiction", "domain_inconsistency", "confidence",
    "missing_condition", "deception", "multi_solutions",
]  # fmt: skip
CLASSES: dict[str, Class] = {name: name for name in get_args(Class)}
WITHOUT_ERRORS = "multi_solutions"
INJECTED = "injected"


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    objective: str
    """The objective that the steps are labelled for."""
    classes: Annotated[list[Class], Field(min_length=1)] = field(
        default_factory=lambda: list(CLASSES.values())
    )
    """Which classes of errors to read."""
    prompts: bool = False
    """Whether a row that tells the right answer gives its problem as a prompt of domain `math` too."""


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any] | RowError]:
    """The original and the modified solution of a row."""
    found = one_of(row, "classification", CLASSES)
    if found not in options.classes:
        return
    group, told = content_hash(text(row, "question")), {"classification": found}
    before, after = texts(row, "original_process"), texts(row, "modified_process")
    errors = error_steps(row, len(after))
    asked = {
        **solutions.problem(text(row, "original_question"), group),
        **told,
        "variant": "original",
    }
    yield solutions.labelled(
        asked, before, solutions.until_error(len(before), None), options.objective, INJECTED
    )
    if errors and before == after:
        yield RowError(
            "contradiction", "modified_process", "is the original solution, but has error steps"
        )
    else:
        posed = {
            **solutions.problem(text(row, "modified_question"), group),
            **told,
            "variant": "modified",
        }
        labels = [0.0 if number in errors else 1.0 for number in range(1, len(after) + 1)]
        yield solutions.labelled(posed, after, labels, options.objective, INJECTED)
    if options.prompts and row.get("ground_truth") is not None:
        yield solutions.prompt(asked, text(row, "ground_truth"))


def error_steps(row: dict[str, Any], steps: int) -> set[int]:
    """The numbers of the wrong steps, from 1: none in a row without errors, and some in every other."""
    errors = {whole({"error_steps": number}, "error_steps") for number in items(row, "error_steps")}
    outside = sorted(number for number in errors if not 1 <= number <= steps)
    if outside:
        raise RowError(
            "off_scale",
            "error_steps",
            f"holds {outside}, but the modified solution has {steps} steps",
        )
    if bool(errors) == (row["classification"] == WITHOUT_ERRORS):
        detail = f"holds {len(errors)} steps, which a row of class {row['classification']} cannot"
        raise RowError("wrong_type", "error_steps", detail)
    return errors
