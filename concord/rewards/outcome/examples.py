"""Training examples of a reward model: responses to one prompt with all of their labels.

The responses of an order are in one example. All other labels of these responses, of any objective
and kind, are added to the same example, so that the model processes each response once, however
many objectives it was judged on. A response that only has grades is an example of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from concord.lm.batches import encode_all
from concord.lm.types import Tokenizer
from concord.prepared.labels import GRADE, ORDER

if TYPE_CHECKING:
    import pandas as pd

MAX_LEVELS = 11
"""A scale with more distinct grades than this is treated as continuous."""


class Order(NamedTuple):
    """A ranking of two or more responses."""

    head: int
    """Index of the head."""
    members: tuple[int, ...]
    """Indices of the responses in the example."""
    ranks: tuple[float, ...]
    """Rank of each member; 1 is best, ties are allowed."""
    margin: float
    """Margin in logits, added to the score of the loser of a comparison; 0 for rankings."""


class Grade(NamedTuple):
    """The grade of one response.

    A grade g on a continuous scale becomes two grades on two levels: the upper with share g and the
    lower with share 1 - g (fractional logit, Papke and Wooldridge 1996).
    """

    head: int
    """Index of the head."""
    member: int
    """Index of the response in the example."""
    scale: int
    """Index of the scale in `Scales.ladders`."""
    level: int
    """Level on the scale; 0 is the lowest."""
    share: float
    """Weight of this grade: 1, or the share of one level for a continuous scale."""
    annotator: int
    """1 + index in `Scales.annotators`; 0 if the scale has only one annotator."""


class Example(NamedTuple):
    """Responses to one prompt, and their labels."""

    sequences: list[list[int]]
    """Token ids of the prompt with each response."""
    orders: list[Order]
    """Orders of these responses."""
    grades: list[Grade]
    """Grades of these responses."""
    group: str = ""
    """The group of the prompt, which is never on both sides of a split."""


class Scale(NamedTuple):
    """The scale of a grade. Grades are comparable within one objective and scale."""

    objective: str
    worst: float
    """The worst value of the original scale."""
    best: float
    """The best value of the original scale."""


@dataclass(frozen=True)
class Scales:
    """All scales of the grades in a table of labels, and the annotators who used them."""

    ladders: dict[Scale, list[float]] = field(default_factory=dict)
    """Scale -> its levels: the distinct grades, ascending; [0, 1] for a continuous scale."""
    shares: dict[Scale, list[float]] = field(default_factory=dict)
    """Scale -> share of the grades at or above each level, except the lowest."""
    annotators: dict[tuple[Scale, str], int] = field(default_factory=dict)
    """(scale, annotator) -> number of grades, for scales with several annotators."""

    @classmethod
    def from_labels(cls, labels: pd.DataFrame) -> Scales:
        """Collects the scales of all grades in a table of labels, sorted."""
        result = cls()
        for scale, rows in sorted(_by_scale(labels).items()):
            values = np.array([row["values"][0] for row in rows])
            levels = np.unique(values).tolist()
            continuous = not 2 <= len(levels) <= MAX_LEVELS
            result.ladders[scale] = [0.0, 1.0] if continuous else levels
            if continuous:
                at_least = [values.mean()]
            else:
                at_least = [(values >= level).mean() for level in levels[1:]]
            result.shares[scale] = [float(share) for share in at_least]
            names = [str(row["annotator"]) for row in rows]
            if len(set(names)) > 1:
                result.annotators.update(
                    {(scale, name): names.count(name) for name in sorted(set(names))}
                )
        return result


def rows_by_prompt(labels: pd.DataFrame) -> list[list[dict[str, Any]]]:
    """The rows of the table, one list per prompt, in order of first occurrence."""
    prompts: dict[str, list[dict[str, Any]]] = {}
    for row in labels.to_dict("records"):
        key = json.dumps(row["messages"], sort_keys=True)
        prompts.setdefault(key, []).append({str(name): value for name, value in row.items()})
    return list(prompts.values())


def examples(
    labels: pd.DataFrame,
    names: Sequence[str],
    scales: Scales,
    tokenizer: Tokenizer,
    margins: Mapping[str, float],
    steady_cut: bool = False,
) -> list[Example]:
    """The examples of all labels of the objectives `names`.

    Args:
        labels: table with the columns of `concord.prepared.labels.COLUMNS`.
        names: objectives in the order of the heads.
        scales: the scales of the grades.
        tokenizer: encodes prompts and responses.
        margins: objective -> logits per unit of a stated margin.
        steady_cut: how long prompts are cut (`concord.lm.chat.encode`).

    Orders in which two responses have the same tokens are left out; their number is printed.
    """
    builder = _Builder(names, scales, margins, steady_cut)
    result: list[Example] = []
    for rows in rows_by_prompt(labels[labels["objective"].isin(list(names))]):
        result.extend(builder.examples_of_prompt(rows, tokenizer))
    if builder.equal:
        print(
            f"dropped {builder.equal} of {len(labels)} labels: "
            "the responses that they order have the same tokens"
        )
    return result


def labelled_heads(example: Example) -> set[int]:
    """The heads for which the example has labels.

    Examples:
        >>> order = Order(head=1, members=(0, 1), ranks=(1.0, 2.0), margin=0.0)
        >>> labelled_heads(Example([[1], [2]], orders=[order], grades=[]))
        {1}
    """
    return {label.head for labels in (example.orders, example.grades) for label in labels}


class _Builder:
    """Builds the examples of one prompt at a time; `equal` counts the orders that were dropped."""

    def __init__(
        self,
        names: Sequence[str],
        scales: Scales,
        margins: Mapping[str, float],
        steady_cut: bool = False,
    ) -> None:
        self.steady_cut = steady_cut
        self.heads = {name: head for head, name in enumerate(names)}
        self.scales, self.margins = scales, margins
        self.scale_index = {scale: index for index, scale in enumerate(scales.ladders)}
        self.annotator_index = {key: index for index, key in enumerate(scales.annotators, start=1)}
        self.equal = 0

    def examples_of_prompt(
        self, rows: list[dict[str, Any]], tokenizer: Tokenizer
    ) -> Iterator[Example]:
        texts = list(dict.fromkeys(text for row in rows for text in row["responses"]))
        prompts = [rows[0]["messages"]] * len(texts)
        encoded = encode_all(tokenizer, prompts, texts, self.steady_cut)
        ids = dict(zip(texts, encoded, strict=True))
        examples: list[tuple[list[str], Example]] = []
        orders = [row for row in rows if row["kind"] == ORDER]
        # Large orders come first, so that smaller ones find their responses in an example.
        for row in sorted(orders, key=lambda row: -len(row["responses"])):
            if len({tuple(ids[text]) for text in row["responses"]}) < len(row["responses"]):
                self.equal += 1
                continue
            responses, example = _find_or_add(examples, row["responses"], ids)
            example.orders.append(self._order(row, responses))
        for row in rows:
            if row["kind"] == GRADE:
                responses, example = _find_or_add(examples, row["responses"], ids)
                example.grades.extend(self._grades(row, responses))
        group = str(rows[0]["group_id"])
        yield from (example._replace(group=group) for _, example in examples)

    def _order(self, row: dict[str, Any], responses: list[str]) -> Order:
        stated = row["margin"] if row["margin"] is not None and np.isfinite(row["margin"]) else 0.0
        members = tuple(responses.index(text) for text in row["responses"])
        margin = stated * self.margins.get(row["objective"], 0.0)
        return Order(self.heads[row["objective"]], members, tuple(row["values"]), margin)

    def _grades(self, row: dict[str, Any], responses: list[str]) -> Iterator[Grade]:
        scale, (value,) = scale_of(row), row["values"]
        ladder = self.scales.ladders[scale]
        levels = [(ladder.index(value), 1.0)] if value in ladder else [(1, value), (0, 1.0 - value)]
        annotator = self.annotator_index.get((scale, str(row["annotator"])), 0)
        head, member = self.heads[row["objective"]], responses.index(row["responses"][0])
        for level, share in levels:
            yield Grade(head, member, self.scale_index[scale], level, share, annotator)


def _find_or_add(
    examples: list[tuple[list[str], Example]], labelled: list[str], ids: Mapping[str, list[int]]
) -> tuple[list[str], Example]:
    """The first example, with its responses, that contains all `labelled` ones, else a new one."""
    for responses, example in examples:
        if set(labelled) <= set(responses):
            return responses, example
    examples.append((list(labelled), Example([ids[text] for text in labelled], [], [])))
    return examples[-1]


def scale_of(row: Mapping[Any, Any]) -> Scale:
    """The scale of a grade, given as a row of the table of labels."""
    return Scale(str(row["objective"]), float(row["scale_low"]), float(row["scale_high"]))


def _by_scale(labels: pd.DataFrame) -> dict[Scale, list[dict[Any, Any]]]:
    rows: dict[Scale, list[dict[Any, Any]]] = {}
    for row in labels[labels["kind"] == GRADE].to_dict("records"):
        rows.setdefault(scale_of(row), []).append(row)
    return rows
