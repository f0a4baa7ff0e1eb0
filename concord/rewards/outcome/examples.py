"""Training examples of a reward model: the answers to one prompt with all labels that anybody gave them.

Answers that are labelled together, in an order, stand in one example; every other label on those answers, of whichever
objective and kind, stands with them, so that each answer goes through the model once however many objectives it was
judged on. An answer that was only graded is an example of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from concord.lm.batches import encode_all
from concord.prepared.labels import GRADE, ORDER

if TYPE_CHECKING:
    import pandas as pd

MOST_LEVELS = 11
"""A scale on which more different grades were given is not a ladder of levels, but continuous."""


class Order(NamedTuple):
    """Which of some answers are better."""

    head: int
    members: tuple[int, ...]
    """Places of the answers in the example."""
    ranks: tuple[float, ...]
    """1 is best."""
    margin: float
    """What is added to the loser's score of a comparison."""


class Grade(NamedTuple):
    """What one answer was given."""

    head: int
    member: int
    """Place of the answer in the example."""
    scale: int
    """Place of its scale in `Scales.ladders`."""
    level: int
    """0 is the lowest."""
    share: float
    """1, or for a grade g of a continuous scale: g of the upper of two levels and 1 - g of the lower (a fractional
    logit, Papke and Wooldridge 1996)."""
    annotator: int
    """Place in `Scales.annotators`, 0 where nobody's habits can be told."""


class Example(NamedTuple):
    """Answers to one prompt, and their labels."""

    sequences: list[list[int]]
    orders: list[Order]
    grades: list[Grade]


class Scale(NamedTuple):
    """What grades are comparable: those of one objective on one scale."""

    objective: str
    worst: float
    best: float


@dataclass(frozen=True)
class Scales:
    """The scales of the grades, and who gave them."""

    ladders: dict[Scale, list[float]] = field(default_factory=dict)
    """The different grades given on each, ascending; [0, 1] for a continuous one."""
    shares: dict[Scale, list[float]] = field(default_factory=dict)
    """Share of the grades at each level or above, but for the lowest."""
    annotators: dict[tuple[Scale, str], int] = field(default_factory=dict)
    """(Scale, annotator) -> how many grades, where several annotators share a scale."""

    @classmethod
    def of(cls, labels: pd.DataFrame) -> Scales:
        """Those of the grades among the labels, in a stable order."""
        found = cls()
        for scale, rows in sorted(_by_scale(labels).items()):
            values = np.array([row["values"][0] for row in rows])
            levels = np.unique(values).tolist()
            continuous = not 2 <= len(levels) <= MOST_LEVELS
            found.ladders[scale] = [0.0, 1.0] if continuous else levels
            at_least = (
                [values.mean()]
                if continuous
                else [(values >= level).mean() for level in levels[1:]]
            )
            found.shares[scale] = [float(share) for share in at_least]
            names = [str(row["annotator"]) for row in rows]
            if len(set(names)) > 1:
                found.annotators.update(
                    {(scale, name): names.count(name) for name in sorted(set(names))}
                )
        return found


def prompts_of(labels: pd.DataFrame) -> list[list[dict[str, Any]]]:
    """The labels as rows, those of one prompt together, in the order in which they come."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in labels.to_dict("records"):
        found.setdefault(json.dumps(row["messages"], sort_keys=True), []).append(
            {str(k): v for k, v in row.items()}
        )
    return list(found.values())


def examples(
    labels: pd.DataFrame,
    names: Sequence[str],
    scales: Scales,
    tokenizer: Any,
    margins: Mapping[str, float],
) -> list[Example]:
    """The examples of all labels of the objectives `names`, whose places are the heads.

    `margins`: what one unit of a stated margin adds to the score difference that is asked for, by objective. Orders of
    answers that are the same tokens are left out, and counted aloud.
    """
    builder = _Builder(names, scales, margins)
    made: list[Example] = []
    for rows in prompts_of(labels[labels["objective"].isin(list(names))]):
        made.extend(builder.of_prompt(rows, tokenizer))
    if builder.equal:
        print(
            f"{builder.equal} of {len(labels)} labels order answers that are equal token by token and were left out"
        )
    return made


class _Builder:
    """Makes examples of one prompt after the other."""

    def __init__(self, names: Sequence[str], scales: Scales, margins: Mapping[str, float]) -> None:
        self.heads = {name: head for head, name in enumerate(names)}
        self.scales, self.margins = scales, margins
        self.scale_places = {scale: place for place, scale in enumerate(scales.ladders)}
        self.annotator_places = {key: place for place, key in enumerate(scales.annotators, start=1)}
        self.equal = 0

    def of_prompt(self, rows: list[dict[str, Any]], tokenizer: Any) -> Iterator[Example]:
        texts = list(dict.fromkeys(text for row in rows for text in row["responses"]))
        ids = dict(
            zip(
                texts, encode_all(tokenizer, [rows[0]["messages"]] * len(texts), texts), strict=True
            )
        )
        made: list[tuple[list[str], Example]] = []
        for row in sorted(
            (row for row in rows if row["kind"] == ORDER), key=lambda row: -len(row["responses"])
        ):
            if len({tuple(ids[text]) for text in row["responses"]}) < len(row["responses"]):
                self.equal += 1
                continue
            answers, example = _place(made, row["responses"], ids)
            example.orders.append(self._order(row, answers))
        for row in rows:
            if row["kind"] == GRADE:
                answers, example = _place(made, row["responses"], ids)
                example.grades.extend(self._grades(row, answers))
        yield from (example for _, example in made)

    def _order(self, row: dict[str, Any], answers: list[str]) -> Order:
        margin = row["margin"] if row["margin"] is not None and np.isfinite(row["margin"]) else 0.0
        members = tuple(answers.index(text) for text in row["responses"])
        asked = margin * self.margins.get(row["objective"], 0.0)
        return Order(self.heads[row["objective"]], members, tuple(row["values"]), asked)

    def _grades(self, row: dict[str, Any], answers: list[str]) -> Iterator[Grade]:
        scale, (value,) = scale_of(row), row["values"]
        ladder = self.scales.ladders[scale]
        levels = [(ladder.index(value), 1.0)] if value in ladder else [(1, value), (0, 1.0 - value)]
        annotator = self.annotator_places.get((scale, str(row["annotator"])), 0)
        head, member = self.heads[row["objective"]], answers.index(row["responses"][0])
        for level, share in levels:
            yield Grade(head, member, self.scale_places[scale], level, share, annotator)


def _place(
    made: list[tuple[list[str], Example]], wanted: list[str], ids: Mapping[str, list[int]]
) -> tuple[list[str], Example]:
    """The first example that holds all the answers that are wanted, a new one where there is none."""
    for answers, example in made:
        if set(wanted) <= set(answers):
            return answers, example
    made.append((list(wanted), Example([ids[text] for text in wanted], [], [])))
    return made[-1]


def scale_of(row: Mapping[Any, Any]) -> Scale:
    """The scale of a grade."""
    return Scale(str(row["objective"]), float(row["scale_low"]), float(row["scale_high"]))


def _by_scale(labels: pd.DataFrame) -> dict[Scale, list[dict[Any, Any]]]:
    found: dict[Scale, list[dict[Any, Any]]] = {}
    for row in labels[labels["kind"] == GRADE].to_dict("records"):
        found.setdefault(scale_of(row), []).append(row)
    return found
