"""Annotations of solutions whose steps are labelled, built the same way for all formats.

The files list steps without the text between them. Here every step except the last ends with a
blank line, as in sampled answers (`concord.annotations.steps`), so that the joined steps are the
answer. Blank lines within a step are kept: labelled steps are used as given and never split again.
"""

from collections.abc import Sequence
from typing import Any

from pydantic.dataclasses import dataclass

from concord.annotations.interchange import content_hash
from concord.stage.params import FORBID

DOMAIN = "math"
SEPARATOR = "\n\n"
HUMAN = "human"
"""Label kind of steps that people judged."""
Annotation = dict[str, Any]
Label = float | None


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source of labelled solutions."""

    objective: str
    """The objective of the step labels."""
    outcome: str | None = None
    """The objective of the labels of final answers; null to leave these labels out."""
    prompts: bool = False
    """Whether each row's problem also becomes a prompt of the domain `math`."""


def problem(question: str, group: str | None = None) -> Annotation:
    """The keys that all annotations of a problem share. The default group is the question."""
    messages = [{"role": "user", "content": question.strip()}]
    return {"group_id": content_hash(question) if group is None else group, "messages": messages}


def prompt(problem: Annotation, reference: str | None) -> Annotation:
    """The problem as a prompt. `reference` is the correct answer, or None."""
    return {"kind": "prompt", **problem, "domain": DOMAIN, "reference": reference}


def labelled_steps(
    problem: Annotation,
    steps: Sequence[str],
    labels: Sequence[Label],
    objective: str,
    kind: str = HUMAN,
) -> Annotation:
    """A solution with a label for each step. `kind` says how the labels were obtained."""
    return {
        "kind": "steps",
        **problem,
        "steps": with_separators(steps),
        "labels": list(labels),
        "objective": objective,
        "label_kind": kind,
    }


def graded_answer(
    problem: Annotation, steps: Sequence[str], correct: bool, objective: str, annotator: str
) -> Annotation:
    """A solution labelled by whether its final answer is correct."""
    return {
        "kind": "binary",
        **problem,
        "response": "".join(with_separators(steps)),
        "label": int(correct),
        "objective": objective,
        "annotator": annotator,
    }


def with_separators(steps: Sequence[str]) -> list[str]:
    r"""Appends a blank line to each step except the last.

    Examples:
        >>> with_separators(["a", "b"])
        ['a\n\n', 'b']
    """
    return [*(step + SEPARATOR for step in steps[:-1]), *steps[-1:]]


def labels_until_error(count: int, first_error: int | None) -> list[Label]:
    """Labels of `count` steps given the index of the first wrong one; later steps are unlabelled.

    Examples:
        >>> labels_until_error(4, 1)
        [1.0, 0.0, None, None]
        >>> labels_until_error(2, None)
        [1.0, 1.0]
    """
    if first_error is None:
        return [1.0] * count
    return [1.0] * first_error + [0.0] + [None] * (count - first_error - 1)
