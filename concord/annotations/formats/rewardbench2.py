"""RewardBench 2: one prompt, a chosen answer and several rejected ones.

Reads https://huggingface.co/datasets/allenai/reward-bench-2 (arXiv 2506.01937, ODC-BY):

    {"prompt": "...", "chosen": ["..."], "rejected": ["...", "...", "..."], "subset": "Factuality",
     "models": ["...", ...]}

Makes a comparison of each chosen answer with each rejected one. The objective is `objective`, or
what `subsets` says. The prompt is the group. The set is made for evaluation: do not train on it.

Options:
- `objective`: the objective of subsets that `subsets` does not name. Default: overall.
- `subsets`: subset -> objective; null leaves a subset out. Default: none, and Ties left out, whose
  chosen answers are equally good.
"""

from collections.abc import Iterator
from dataclasses import field
from typing import Any

from pydantic.dataclasses import dataclass

from concord.annotations.dialogues import spoken
from concord.annotations.fields import items, text, texts
from concord.annotations.judgements import comparison
from concord.annotations.record import RowError
from concord.annotations.shapes import Row, Shape, is_texts
from concord.stage.params import FORBID


def is_list_of_answers(row: Row) -> bool:
    """Whether the chosen and the rejected answers are lists of texts."""
    return is_texts(row, "chosen") and is_texts(row, "rejected")


SHAPES = (Shape(("prompt", "chosen", "rejected"), {}, is_list_of_answers, extra=2),)


@dataclass(frozen=True, config=FORBID)
class Options:
    """Options of a source in this format."""

    objective: str = "overall"
    """The objective of subsets that `subsets` does not name."""
    subsets: dict[str, str | None] = field(default_factory=lambda: {"Ties": None})
    """Subset -> objective; null leaves a subset out."""


def annotations(row: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """Yields the comparisons of a row."""
    subset = "" if row.get("subset") is None else text(row, "subset")
    objective = options.subsets.get(subset, options.objective)
    if objective is None:
        raise RowError("left_out", "subset", f"the option `subsets` leaves {subset} out")
    messages = spoken(row, "prompt")
    chosen, rejected = texts(row, "chosen"), texts(row, "rejected")
    if not items(row, "chosen") or not rejected:
        raise RowError("no_label", "rejected", "there is no pair of a chosen and a rejected answer")
    for better in chosen:
        for worse in rejected:
            yield comparison(messages, (better, worse), "a", objective, "rewardbench2")
