"""PRM800K: solutions of MATH problems whose steps people rated while choosing between completions.

Reads the files of https://github.com/openai/prm800k (arXiv 2305.20050):

    {"is_quality_control_question": false, "is_initial_screening_question": false,
     "question": {"problem": "...", "ground_truth_answer": "...", ...},
     "label": {"finish_reason": "solution",
               "steps": [{"completions": [{"text": "...", "rating": 1, "flagged": null}, ...],
                          "human_completion": {"text": "...", "corrected_rating": 1},
                          "chosen_completion": 0}, ...]}}

`finish_reason` is solution, found_error, give_up or bad_problem. A rating is -1, 0, 1 or null.
`human_completion` and `chosen_completion` may be null.

The solution consists of the chosen completions. If no completion was chosen in a step, the step is,
in this order:

1. The annotator's own completion. Its rating is 1 unless `corrected_rating` differs.
2. In the last step of a `found_error`, the first completion rated -1. It ends the solution.
3. In the last step of a `give_up` or `bad_problem`, nothing: the solution ends before it.

Makes:

- Step labels: 1 for a rating of 1, `neutral` for 0, 0 for -1, and null for a missing rating or a
  completion that the annotator flagged as unclear. A neutral step is correct but makes no progress
  (appendix D). The paper counts it as positive, which worked best by a small margin (appendix F.2).
- With `alternatives`, step labels for each rated completion that is not part of the solution: the
  steps before it, unlabelled, and the completion with its label.
- With `outcome`, a binary label of 1 for the final answer if `finish_reason` is solution. The other
  solutions are unfinished, so their final answers get no label.
- With `prompts`, a prompt of the domain `math` with the answer as the reference.

The problem is the group.

Options:
- `objective`: the objective of the step labels. Required.
- `outcome`: the objective of the labels of final answers. Default: null, no such labels.
- `prompts`: whether each row's problem also becomes a prompt with its answer. Default: false.
- `neutral`: the label of steps rated 0; null leaves them unlabelled. Default: 1.
- `alternatives`: whether completions outside the solution are read too. Default: false.
- `finished`: the finish reasons of the rows to read; others are left out and counted. Default:
  solution and found_error; the paper discards the others.
- `controls`: whether to read rows that test the annotators, which the paper discards too. Default:
  false.
"""

from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations import solutions
from concord.annotations.fields import Object, integer, mapping, mappings, one_of, text
from concord.annotations.record import RowError
from concord.annotations.shapes import Shape
from concord.stage.params import FORBID

Finish = Literal["solution", "found_error", "give_up", "bad_problem"]
FINISHES: dict[str, Finish] = {name: name for name in get_args(Finish)}
CONTROLS = ("is_quality_control_question", "is_initial_screening_question")
WRONG, NEUTRAL, RIGHT = -1, 0, 1
SHAPES = (
    Shape(
        ("question.problem", "label.steps", "label.finish_reason"),
        {"objective": "math_accuracy", "prompts": True},
    ),
)


@dataclass(frozen=True, config=FORBID)
class Options(solutions.Options):
    """Options of a source in this format."""

    neutral: Annotated[float, Field(ge=0, le=1)] | None = 1.0
    """The label of steps rated 0; null leaves them unlabelled."""
    alternatives: bool = False
    """Whether completions outside the solution are read too."""
    finished: list[Finish] = field(default_factory=lambda: ["solution", "found_error"])
    """The finish reasons of the rows to read."""
    controls: bool = False
    """Whether to read rows that test the annotators."""


class Step(NamedTuple):
    """A step and its rating: -1, 0, 1 or None."""

    words: str
    rating: int | None


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """Yields the annotations of a solution."""
    question, label = mapping(row, "question"), mapping(row, "label")
    finish = one_of(label, "finish_reason", FINISHES)
    is_control = any(row.get(key) for key in CONTROLS)
    if finish not in options.finished or (is_control and not options.controls):
        cause = (
            f"finish_reason is {finish}" if finish not in options.finished else "tests annotators"
        )
        raise RowError("left_out", "finish_reason", f"{cause}; see `finished` and `controls`")
    problem = solutions.problem(text(question, "problem"))
    path, alternatives = solution(label, finish)
    labels = {WRONG: 0.0, NEUTRAL: options.neutral, RIGHT: 1.0, None: None}
    steps = [step.words for step in path]
    yield solutions.labelled_steps(
        problem, steps, [labels[step.rating] for step in path], options.objective
    )
    if options.alternatives:
        for count, step in alternatives:
            yield solutions.labelled_steps(
                problem,
                [*steps[:count], step.words],
                [*([None] * count), labels[step.rating]],
                options.objective,
            )
    if options.outcome is not None and finish == "solution":
        yield solutions.graded_answer(problem, steps, True, options.outcome, "prm800k")
    if options.prompts:
        yield solutions.prompt(problem, text(question, "ground_truth_answer"))


def solution(label: Object, finish: Finish) -> tuple[list[Step], list[tuple[int, Step]]]:
    """The steps of the solution, and the other rated completions.

    Each of the others comes with the number of steps before it.
    """
    path: list[Step] = []
    alternatives: list[tuple[int, Step]] = []
    steps = mappings(label, "steps")
    for index, step in enumerate(steps):
        completions = [completion(entry) for entry in listed(step)]
        is_last = index == len(steps) - 1
        chosen = chosen_step(step, completions, finish if is_last else None)
        alternatives += [
            (index, other)
            for other in completions
            if other is not chosen and other.rating is not None
        ]
        if chosen is not None:
            path.append(chosen)
    return path, alternatives


def listed(step: Object) -> list[dict[str, Any]]:
    """The completions of a step; none if they are null, beside a person's own completion."""
    is_human = step.get("completions") is None and step.get("human_completion") is not None
    return [] if is_human else mappings(step, "completions")


def chosen_step(step: Object, completions: list[Step], finish: Finish | None) -> Step | None:
    """The completion that continues the solution, or None if the solution ends before this step.

    `finish` is the finish reason in the last step, and None in the others.
    """
    if step.get("chosen_completion") is not None:
        index = integer(step, "chosen_completion")
        if not 0 <= index < len(completions):
            raise RowError(
                "off_scale",
                "chosen_completion",
                f"is {index}, but the step has {len(completions)} completions",
            )
        return completions[index]
    if step.get("human_completion") is not None:
        human = mapping(step, "human_completion")
        words = text(human, "text", "human_completion")
        return Step(words, read_rating(human, "corrected_rating", RIGHT))
    if finish in (None, "solution"):
        raise RowError(
            "missing_key", "chosen_completion", "a step of the solution has no chosen completion"
        )
    wrong = [other for other in completions if other.rating == WRONG]
    if finish == "found_error" and not wrong:
        raise RowError(
            "missing_key",
            "rating",
            "finish_reason is found_error, but no completion of the last step is rated -1",
        )
    return wrong[0] if finish == "found_error" else None


def completion(entry: Object) -> Step:
    """A completion with its rating. Flagged completions are unrated."""
    rating = read_rating(entry, "rating", None)
    return Step(text(entry, "text", "completions"), None if entry.get("flagged") else rating)


def read_rating(entry: Object, key: str, default: int | None) -> int | None:
    """The rating under `key`: -1, 0 or 1, or `default` if there is none."""
    if entry.get(key) is None:
        return default
    rating = integer(entry, key)
    if rating not in (WRONG, NEUTRAL, RIGHT):
        raise RowError("off_scale", key, f"is {rating}; allowed: -1, 0, 1")
    return rating
