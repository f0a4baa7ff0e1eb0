"""PRM800K: solutions of MATH problems whose steps people rated as they chose between completions.

    {"is_quality_control_question": false, "is_initial_screening_question": false,
     "question": {"problem": "...", "ground_truth_answer": "...", "pre_generated_steps": [...], ...},
     "label": {"finish_reason": "solution" | "found_error" | "give_up" | "bad_problem",
               "steps": [{"completions": [{"text": "...", "rating": -1 | 0 | 1 | null, "flagged": true | null}, ...],
                          "human_completion": {"text": "...", "corrected_rating": 1 | null} | null,
                          "chosen_completion": 0 | null}, ...]}}

(https://github.com/openai/prm800k; arXiv 2305.20050.) The chosen completions make the solution. Where none was chosen,
the step is the person's own, which is right (1) unless its corrected rating says otherwise; or else, in the last step
of `found_error`, the first completion rated -1, at which the solution is cut off; or else, in the last step of people
who gave up or called the problem bad, missing.

A rating of 1 is labelled 1, -1 is 0, and null, or any rating of a completion that the person flagged as unclear, null.
0 is neutral: right in its context, but no progress (appendix D). The paper counts it as positive (appendix F.2, where
this did best, though by little), and so does this format unless `neutral` says otherwise.

`alternatives` adds an annotation for every rated completion that is not on the path: the path up to there, unlabelled,
and the completion with its label. The problem is the group. A solution that ended in `solution` reached the right
answer and is labelled 1 for `outcome`; of the others, which are cut off, nothing is told.

Options: `objective` (of the steps), `outcome` (that of the final answer; none), `prompts` (whether each row's problem
is a prompt too, with its answer; false), `neutral` (label of 0; 1), `alternatives` (false), `finished` (the reasons of
rows to read; solution and found_error, as the paper discards those in which a person did not finish the task),
`controls` (whether to read rows that served to check the annotators, which the paper discards too; false).
"""

from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations import solutions
from concord.annotations.fields import Object, mapping, members, one_of, text, whole
from concord.annotations.record import RowError
from concord.stage.params import FORBID

Finish = Literal["solution", "found_error", "give_up", "bad_problem"]
FINISHES: dict[str, Finish] = {name: name for name in get_args(Finish)}
CONTROLS = ("is_quality_control_question", "is_initial_screening_question")
WRONG, NEUTRAL, RIGHT = -1, 0, 1


@dataclass(frozen=True, config=FORBID)
class Options(solutions.Options):
    """Options of a source in this format."""

    neutral: Annotated[float, Field(ge=0, le=1)] | None = 1.0
    """Label of a step rated 0; null to leave it unlabelled."""
    alternatives: bool = False
    """Whether completions that were not chosen are read too."""
    finished: list[Finish] = field(default_factory=lambda: ["solution", "found_error"])
    """Rows to read, by how the annotation ended."""
    controls: bool = False
    """Whether rows are read that served to check the annotators."""


class Step(NamedTuple):
    """A step and what people said of it."""

    words: str
    rating: int | None


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """What a row tells of a solution."""
    question, label = mapping(row, "question"), mapping(row, "label")
    finish = one_of(label, "finish_reason", FINISHES)
    if finish not in options.finished or (
        any(row.get(key) for key in CONTROLS) and not options.controls
    ):
        return
    asked = solutions.problem(text(question, "problem"))
    path, others = walk(label, finish)
    labels = {WRONG: 0.0, NEUTRAL: options.neutral, RIGHT: 1.0, None: None}
    steps = [step.words for step in path]
    yield solutions.labelled(
        asked, steps, [labels[step.rating] for step in path], options.objective
    )
    for place, other in others if options.alternatives else []:
        tried = [*([None] * place), labels[other.rating]]
        yield solutions.labelled(asked, [*steps[:place], other.words], tried, options.objective)
    if options.outcome is not None and finish == "solution":
        yield solutions.graded(asked, steps, True, options.outcome, "prm800k")
    if options.prompts:
        yield solutions.prompt(asked, text(question, "ground_truth_answer"))


def walk(label: Object, finish: Finish) -> tuple[list[Step], list[tuple[int, Step]]]:
    """The steps of the solution, and the other rated completions, each with the number of steps before it."""
    path: list[Step] = []
    others: list[tuple[int, Step]] = []
    steps = members(label, "steps")
    for place, step in enumerate(steps):
        found = [completion(entry) for entry in members(step, "completions")]
        last = place == len(steps) - 1
        taken = chosen(step, found, finish if last else None)
        others += [
            (place, other) for other in found if other is not taken and other.rating is not None
        ]
        if taken is not None:
            path.append(taken)
    return path, others


def chosen(step: Object, found: list[Step], finish: Finish | None) -> Step | None:
    """The step that was taken; `finish` is how the annotation ended, and null unless the step is the last one."""
    if step.get("chosen_completion") is not None:
        index = whole(step, "chosen_completion")
        if not 0 <= index < len(found):
            raise RowError(
                "off_scale",
                "chosen_completion",
                f"is {index}, but there are {len(found)} completions",
            )
        return found[index]
    if step.get("human_completion") is not None:
        own = mapping(step, "human_completion")
        return Step(text(own, "text", "human_completion"), rated(own, "corrected_rating", RIGHT))
    if finish in (None, "solution"):
        raise RowError(
            "missing_key", "chosen_completion", "a step of the solution has no text that was chosen"
        )
    wrong = [other for other in found if other.rating == WRONG]
    if finish == "found_error" and not wrong:
        raise RowError(
            "missing_key",
            "rating",
            "an error was found in the last step, but no completion is rated -1",
        )
    return wrong[0] if finish == "found_error" else None


def completion(entry: Object) -> Step:
    """A completion with its rating; one that the person flagged has none."""
    rating = rated(entry, "rating", None)
    return Step(text(entry, "text", "completions"), None if entry.get("flagged") else rating)


def rated(entry: Object, key: str, otherwise: int | None) -> int | None:
    """The rating under `key`, -1, 0 or 1."""
    if entry.get(key) is None:
        return otherwise
    rating = whole(entry, key)
    if rating not in (WRONG, NEUTRAL, RIGHT):
        raise RowError("off_scale", key, f"is {rating}; allowed: -1, 0, 1")
    return rating
