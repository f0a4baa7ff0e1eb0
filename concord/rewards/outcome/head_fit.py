"""Training of reward heads on labels of all kinds: L = sum_i w_i * mean over the labels of objective i in the batch.

A row is one `Example`: {"example": ..., "weight": per head w_i / n_i}. A label's loss reads its own head alone
(`concord.rewards.outcome.head_losses`), so a head without labels in a batch contributes exactly 0, and no other weighs more for
it. (One backbone with several heads: L = sum_i w_i L_i.)
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from concord.lm.batches import pad_sequences
from concord.rewards.outcome import head_losses as label_losses
from concord.rewards.outcome.examples import Example, Grade, Order, Scales

Row = dict[str, Any]
Batch = dict[str, Tensor]


class Thresholds(torch.nn.Module):
    """What stands between a score and the grades that people give: the thresholds of each scale, and how much higher
    or lower than the others an annotator sets them all (normal with mean 0 and variance 1 before anything is known)."""

    def __init__(self, scales: Scales) -> None:
        super().__init__()
        width = max((len(shares) for shares in scales.shares.values()), default=0)
        free = torch.zeros(len(scales.ladders), width)
        absent = torch.ones(len(scales.ladders), width, dtype=torch.bool)
        for place, shares in enumerate(scales.shares.values()):
            free[place, : len(shares)] = torch.tensor(_free([-_logit(share) for share in shares]))
            absent[place, : len(shares)] = False
        self.free = torch.nn.Parameter(free)
        self.severity = torch.nn.Parameter(
            torch.zeros(1 + len(scales.annotators))
        )  # 0: nobody's, and no gradient
        self.register_buffer("absent", absent, persistent=False)
        self.register_buffer(
            "counts", torch.tensor([1.0, *scales.annotators.values()]), persistent=False
        )
        self.absent: Tensor
        self.counts: Tensor

    def of_scales(self) -> Tensor:
        """(scales, K - 1) ascending, inf where a scale has fewer levels."""
        return label_losses.ascending(self.free).masked_fill(self.absent, torch.inf)

    def losses(self, scores: Tensor, batch: Batch) -> Tensor:
        """(n,) of the batch's grades, from their scores (n,): likelihood, and each annotator's prior in as many parts
        as he gave grades."""
        annotator = batch["grade_annotator"]
        severity = torch.where(annotator > 0, self.severity[annotator], 0.0)
        thresholds = self.of_scales()[batch["grade_scale"]]
        likelihood = label_losses.grade(scores - severity, batch["grade_level"], thresholds)
        return likelihood + severity**2 / 2 / self.counts[annotator]

    def described(self, scales: Scales) -> dict[str, Any]:
        """For people: thresholds by scale, and by annotator how much less than others he gives."""
        table = self.of_scales().detach().cpu()
        named = [f"{scale.objective} [{scale.worst:g}, {scale.best:g}]" for scale in scales.ladders]
        rows = zip(named, scales.ladders.values(), table, strict=True)
        severity = self.severity.detach().cpu().tolist()[1:]
        return {
            "thresholds": {name: dict(_steps(ladder, row.tolist())) for name, ladder, row in rows},
            "severity": {
                f"{scale.objective} [{scale.worst:g}, {scale.best:g}] {who}": value
                for (scale, who), value in zip(scales.annotators, severity, strict=True)
            },
        }


class LabelledModel(torch.nn.Module):
    """A reward model (logits (n, H)) with the thresholds that are learnt beside it."""

    def __init__(self, model: torch.nn.Module, thresholds: Thresholds) -> None:
        super().__init__()
        self.model, self.thresholds = model, thresholds

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Losses of the batch's orders and of its grades."""
        logits = self.model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).logits
        return losses(logits.float(), self.thresholds, batch)


def losses(scores: Tensor, thresholds: Thresholds, batch: Batch) -> tuple[Tensor, Tensor]:
    """(orders,) and (grades,) from the scores (n, H) of all answers of a batch."""
    own = (
        scores[batch["order_members"], batch["order_head"][:, None]] + batch["order_margin"]
    )  # (orders, k)
    graded = scores[batch["grade_member"], batch["grade_head"]]  # (grades,)
    return label_losses.order(own, batch["order_ranks"]), thresholds.losses(graded, batch)


def loss(model: torch.nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum over all labels, and the mean loss of either kind (NaN where there is none)."""
    orders, grades = model(batch)
    total = (orders * batch["order_weight"]).sum() + (grades * batch["grade_weight"]).sum()
    return total, {"order_loss": orders.mean().item(), "grade_loss": grades.mean().item()}


def row_weights(loss_weights: Sequence[float]) -> Callable[[list[Row]], list[Any]]:
    """Weights w_i / n_i per head, the same for all rows of one global batch, n_i being its labels of objective i."""

    def weigh(batch: list[Row]) -> list[Any]:
        counts = Counter(label.head for row in batch for label in row["example"].orders)
        counts.update(head for row in batch for head in _graded(row["example"]))
        weight = tuple(value / max(1, counts[head]) for head, value in enumerate(loss_weights))
        return [weight] * len(batch)

    return weigh


def longest(row: Row) -> int:
    """Tokens of the longest answer: what a batch is padded to."""
    return max(map(len, row["example"].sequences))


def collate(pad: int) -> Callable[[list[Row]], Batch]:
    """All answers of the rows as one batch, and their labels (`gathered`)."""

    def batch(rows: list[Row]) -> Batch:
        made = [row["example"] for row in rows]
        sequences = [sequence for example in made for sequence in example.sequences]
        return {**pad_sequences(sequences, pad), **gathered(made, [row["weight"] for row in rows])}

    return batch


def gathered(examples: Sequence[Example], weights: Sequence[Any]) -> Batch:
    """The labels of examples whose answers stand below each other: `order_*` (orders, k) or (orders,), and `grade_*`
    (grades,). `weights`: per head, or one number for all heads."""
    orders: list[tuple[int, Order, float]] = []
    grades: list[tuple[int, Grade, float]] = []
    start = 0
    for example, weight in zip(examples, weights, strict=True):
        orders.extend((start, order, _of_head(weight, order.head)) for order in example.orders)
        grades.extend((start, grade, _of_head(weight, grade.head)) for grade in example.grades)
        start += len(example.sequences)
    width = max((len(order.members) for _, order, _ in orders), default=0)

    def padded(rows: list[list[float]], dtype: torch.dtype) -> Tensor:
        filled = [[*row, *[0] * (width - len(row))] for row in rows]
        return torch.tensor(filled, dtype=dtype).reshape(len(rows), width)

    return {
        "order_members": padded(
            [[first + m for m in order.members] for first, order, _ in orders], torch.long
        ),
        "order_ranks": padded([list(order.ranks) for _, order, _ in orders], torch.float32),
        "order_margin": padded([_raised(order) for _, order, _ in orders], torch.float32),
        "order_head": torch.tensor([order.head for _, order, _ in orders], dtype=torch.long),
        "order_weight": torch.tensor([weight for *_, weight in orders], dtype=torch.float32),
        "grade_member": torch.tensor(
            [first + grade.member for first, grade, _ in grades], dtype=torch.long
        ),
        "grade_head": torch.tensor([grade.head for _, grade, _ in grades], dtype=torch.long),
        "grade_scale": torch.tensor([grade.scale for _, grade, _ in grades], dtype=torch.long),
        "grade_level": torch.tensor([grade.level for _, grade, _ in grades], dtype=torch.long),
        "grade_annotator": torch.tensor(
            [grade.annotator for _, grade, _ in grades], dtype=torch.long
        ),
        "grade_weight": torch.tensor(
            [weight * grade.share for _, grade, weight in grades], dtype=torch.float32
        ),
    }


def _of_head(weight: Any, head: int) -> float:
    return float(weight[head] if isinstance(weight, tuple) else weight)


def _raised(order: Order) -> list[float]:
    """What is added to each score: the margin to the loser's."""
    return [0.0 if rank == min(order.ranks) else order.margin for rank in order.ranks]


def _graded(example: Example) -> list[int]:
    """The head of each grade; the two parts of a continuous one count once."""
    return [grade.head for grade in example.grades if grade.share == 1.0 or grade.level == 1]


def _logit(share: float) -> float:
    share = min(max(share, 0.01), 0.99)
    return math.log(share / (1 - share))


def _free(thresholds: Sequence[float]) -> list[float]:
    """The parameters of which `label_losses.ascending` makes these thresholds, whose steps are 0.01 at least."""
    steps = [max(later - earlier, 0.01) for earlier, later in itertools.pairwise(thresholds)]
    return [thresholds[0], *(float(np.log(np.expm1(step))) for step in steps)]


def _steps(ladder: Sequence[float], thresholds: Sequence[float]) -> list[tuple[str, float]]:
    return [
        (f"{level:g} or more", value) for level, value in zip(ladder[1:], thresholds, strict=False)
    ]
