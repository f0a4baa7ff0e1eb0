"""Solutions of problems whose steps are labelled: the annotations that they become, in one way for all formats.

The files hold steps without what stands between them. Here a blank line ends every step but the last, as in sampled
answers (`concord.annotations.steps`), so that the steps joined are the answer. What else stands in a step is left as it is,
blank lines too: whoever learns from labelled steps reads the given ones and never cuts the answer anew.
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
    """The objective that the steps are labelled for."""
    outcome: str | None = None
    """The objective that whole answers are labelled for, as far as a row tells; null to leave these labels out."""
    prompts: bool = False
    """Whether each row gives its problem as a prompt of domain `math` too; repeated ones are set aside later."""


def problem(question: str, group: str | None = None) -> Annotation:
    """What all annotations of a problem have in common; its group is the question unless it is given."""
    messages = [{"role": "user", "content": question.strip()}]
    return {"group_id": content_hash(question) if group is None else group, "messages": messages}


def prompt(asked: Annotation, reference: str | None) -> Annotation:
    """The problem as a prompt, with the right answer where there is one."""
    return {"kind": "prompt", **asked, "domain": DOMAIN, "reference": reference}


def labelled(
    asked: Annotation,
    steps: Sequence[str],
    labels: Sequence[Label],
    objective: str,
    kind: str = HUMAN,
) -> Annotation:
    """A solution with a label for each step; `kind` tells how the labels came about."""
    judged = {
        "steps": joined(steps),
        "labels": list(labels),
        "objective": objective,
        "label_kind": kind,
    }
    return {"kind": "steps", **asked, **judged}


def graded(
    asked: Annotation, steps: Sequence[str], right: bool, objective: str, annotator: str
) -> Annotation:
    """A solution whose final answer is right or wrong."""
    judged = {
        "response": "".join(joined(steps)),
        "label": int(right),
        "objective": objective,
        "annotator": annotator,
    }
    return {"kind": "binary", **asked, **judged}


def joined(steps: Sequence[str]) -> list[str]:
    """The steps with a blank line after each but the last: 'a', 'b' become 'a\\n\\n', 'b'."""
    return [*(step + SEPARATOR for step in steps[:-1]), *steps[-1:]]


def until_error(count: int, first: int | None) -> list[Label]:
    """Labels of `count` steps, the one at index `first` being the first wrong one: nobody judged the later ones."""
    if first is None:
        return [1.0] * count
    return [1.0] * first + [0.0] + [None] * (count - first - 1)
