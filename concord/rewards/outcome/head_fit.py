"""Training of reward heads on labels of all kinds.

The loss of a batch is L = sum_i w_i L_i, where L_i is the mean over the labels of objective i in
the batch. A training row is {"example": an `Example`, "weight": w_i / n_i per head}. The loss of a
label depends only on the score of its own head (`concord.rewards.outcome.head_losses`). A head
without labels in a batch therefore contributes exactly 0, and the weights of the other heads do not
change.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from concord.lm import packing
from concord.lm.batches import pad_sequences
from concord.rewards.outcome import head_losses as label_losses
from concord.rewards.outcome.examples import Example, Grade, Order, Scales

Row = dict[str, Any]
"""`example`, an `Example`, and `weight`, a tuple with one weight per head."""


class LabelBatch(TypedDict):
    """The labels of a batch; members index the responses of all its examples, one after the other.

    An order has at most k members; shorter orders are padded with 0.
    """

    order_members: Tensor
    """Indices of the responses, int64 `(orders, k)`."""
    order_ranks: Tensor
    """Ranks, float32 `(orders, k)`; 1 is best, 0 is padding."""
    order_margin: Tensor
    """What is added to each score, float32 `(orders, k)`: the margin for the loser, else 0."""
    order_head: Tensor
    """Indices of the heads, int64 `(orders,)`."""
    order_weight: Tensor
    """Weights in the loss, float32 `(orders,)`."""
    grade_member: Tensor
    """Index of the response, int64 `(grades,)`."""
    grade_head: Tensor
    """Indices of the heads, int64 `(grades,)`."""
    grade_scale: Tensor
    """Indices of the scales in `Scales.ladders`, int64 `(grades,)`."""
    grade_level: Tensor
    """Levels from 0 to K-1, int64 `(grades,)`."""
    grade_annotator: Tensor
    """Indices of the annotators, int64 `(grades,)`; 0 if the annotator has no severity."""
    grade_weight: Tensor
    """Weights in the loss, float32 `(grades,)`."""


class Batch(LabelBatch):
    """Responses with their labels: what `loss` reads."""

    input_ids: Tensor
    """Token ids, int64 `(responses, seq)`, padded on the right."""
    attention_mask: Tensor
    """1 for tokens and 0 for padding, int64 `(responses, seq)`."""
    packed: packing.Rows | None
    """The same responses with each distinct token once, if that pays."""
    ends: Tensor
    """Index of the state of each response that the heads read, int64 `(responses,)`, in the rows
    of `packed`, or else of `input_ids`, one after the other."""


class Thresholds(torch.nn.Module):
    """Trained parameters that relate scores to grades.

    Each scale has K-1 ascending thresholds. Each annotator has a severity, which is added to all
    thresholds of the scale; its prior is normal with mean 0 and variance 1.
    """

    def __init__(self, scales: Scales) -> None:
        super().__init__()
        width = max((len(shares) for shares in scales.shares.values()), default=0)
        free = torch.zeros(len(scales.ladders), width)
        absent = torch.ones(len(scales.ladders), width, dtype=torch.bool)
        for index, shares in enumerate(scales.shares.values()):
            thresholds = [-_logit(share) for share in shares]
            free[index, : len(shares)] = torch.tensor(_free_parameters(thresholds))
            absent[index, : len(shares)] = False
        self.free = torch.nn.Parameter(free)
        # Index 0 stands for annotators without a severity; it has no gradient.
        self.severity = torch.nn.Parameter(torch.zeros(1 + len(scales.annotators)))
        self.register_buffer("absent", absent, persistent=False)
        self.register_buffer(
            "counts", torch.tensor([1.0, *scales.annotators.values()]), persistent=False
        )
        self.absent: Tensor
        self.counts: Tensor

    def per_scale(self) -> Tensor:
        """Thresholds `(scales, K-1)`, ascending, padded with inf for scales with fewer levels."""
        return label_losses.ascending(self.free).masked_fill(self.absent, torch.inf)

    def losses(self, scores: Tensor, batch: LabelBatch) -> Tensor:
        """Losses `(grades,)` of the grades in a batch, given the scores `(grades,)`.

        A loss is the negative log-likelihood plus a share of the annotator's prior, which is
        divided equally between all grades of the annotator.
        """
        annotator = batch["grade_annotator"]
        severity = torch.where(annotator > 0, self.severity[annotator], 0.0)
        thresholds = self.per_scale()[batch["grade_scale"]]
        likelihood = label_losses.grade(scores - severity, batch["grade_level"], thresholds)
        return likelihood + severity**2 / 2 / self.counts[annotator]

    def summary(self, scales: Scales) -> dict[str, Any]:
        """`thresholds` by scale and `severity` by scale and annotator, for a JSON report."""
        table = self.per_scale().detach().cpu()
        named = [f"{scale.objective} [{scale.worst:g}, {scale.best:g}]" for scale in scales.ladders]
        rows = zip(named, scales.ladders.values(), table, strict=True)
        severity = self.severity.detach().cpu().tolist()[1:]
        return {
            "thresholds": {
                name: dict(_by_level(ladder, row.tolist())) for name, ladder, row in rows
            },
            "severity": {
                f"{scale.objective} [{scale.worst:g}, {scale.best:g}] {annotator}": value
                for (scale, annotator), value in zip(scales.annotators, severity, strict=True)
            },
        }


class LabelledModel(torch.nn.Module):
    """A reward model with logits `(responses, heads)`, and the thresholds trained with it."""

    def __init__(self, model: torch.nn.Module, thresholds: Thresholds) -> None:
        super().__init__()
        self.model, self.thresholds = model, thresholds

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Losses of the orders `(orders,)` and of the grades `(grades,)` in the batch."""
        return losses(self._scores(batch).float(), self.thresholds, batch)

    def _scores(self, batch: Batch) -> Tensor:
        """All scores, `(responses, heads)`."""
        model: Any = self.model
        if batch["packed"] is None:
            ids, mask = batch["input_ids"], batch["attention_mask"]
            return model(input_ids=ids, attention_mask=mask).logits  # type: ignore[no-any-return]
        return model.score(self.states(batch))  # type: ignore[no-any-return]

    def states(self, batch: Batch) -> Tensor:
        """The states that the heads read, `(responses, hidden)`."""
        model: Any = self.model
        rows: Any = batch["packed"]
        if rows is None:
            rows = {name: batch[name] for name in ("input_ids", "attention_mask")}
        states: Tensor = model.base_model(**rows).last_hidden_state
        return states.flatten(0, 1)[batch["ends"]]

    def can_pack(self) -> bool:
        """Whether the model computes the same scores from packed rows as from whole sequences."""
        config: Any = self.model.config
        text = config.get_text_config()
        return packing.attends_to_any_mask(text, config._attn_implementation)


def losses(scores: Tensor, thresholds: Thresholds, batch: LabelBatch) -> tuple[Tensor, Tensor]:
    """Losses of orders `(orders,)` and grades `(grades,)` from all scores `(responses, heads)`."""
    members, heads = batch["order_members"], batch["order_head"]
    ordered = scores[members, heads[:, None]] + batch["order_margin"]  # (orders, k)
    graded = scores[batch["grade_member"], batch["grade_head"]]  # (grades,)
    return label_losses.order(ordered, batch["order_ranks"]), thresholds.losses(graded, batch)


def loss(model: torch.nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum over all labels, and the mean loss of each kind (NaN without labels)."""
    orders, grades = model(batch)
    total = (orders * batch["order_weight"]).sum() + (grades * batch["grade_weight"]).sum()
    return total, {"order_loss": orders.mean().item(), "grade_loss": grades.mean().item()}


def row_weights(loss_weights: Sequence[float]) -> Callable[[list[Row]], list[Any]]:
    """Returns the function that computes the weights of the rows of one global batch.

    The weight of objective i is w_i / n_i, where n_i is the number of its labels in the batch. All
    rows get the same tuple of weights, one per head.
    """

    def weigh(batch: list[Row]) -> list[Any]:
        counts = Counter(label.head for row in batch for label in row["example"].orders)
        counts.update(head for row in batch for head in _graded_heads(row["example"]))
        weight = tuple(value / max(1, counts[head]) for head, value in enumerate(loss_weights))
        return [weight] * len(batch)

    return weigh


def longest_answer(row: Row) -> int:
    """Tokens of the longest response of a row, which determines the padding of a batch."""
    return max(map(len, row["example"].sequences))


def collate(pad: int, *, share_tokens: bool = False) -> Callable[[list[Row]], Batch]:
    """Returns the function that makes a batch of rows; `pad` is the id of the padding token.

    With `share_tokens`, the answers to a prompt share its tokens where that pays
    (`concord.lm.packing`).
    """

    def batch(rows: list[Row]) -> Batch:
        examples = [row["example"] for row in rows]
        sequences = [sequence for example in examples for sequence in example.sequences]
        padded = pad_sequences(sequences, pad)
        packed = _pack(examples, pad) if share_tokens else None
        if packed:
            ends = [states[-1] for states in packed.states]
        else:
            width = padded["input_ids"].shape[1]
            lengths = [len(until_last_token(ids, pad)) for ids in sequences]
            ends = [row * width + length - 1 for row, length in enumerate(lengths)]
        return {
            "input_ids": padded["input_ids"],
            "attention_mask": padded["attention_mask"],
            "packed": packed.rows if packed else None,
            "ends": torch.tensor(ends, dtype=torch.long),
            **label_batch(examples, [row["weight"] for row in rows]),
        }

    return batch


def _pack(examples: Sequence[Example], pad: int) -> packing.Packed | None:
    """The responses of each example as one tree, up to the token that is scored."""
    trees = [index for index, example in enumerate(examples) for _ in example.sequences]
    sequences = [sequence for example in examples for sequence in example.sequences]
    return packing.pack([until_last_token(ids, pad) for ids in sequences], trees, pad)


def until_last_token(sequence: Sequence[int], pad: int) -> list[int]:
    """The ids up to the last one that is not padding, where a stock classifier reads its features.

    If the tokenizer pads with its end-of-sequence token, this drops the end of the sequence, as the
    classifier does.
    """
    last = max(index for index, token in enumerate(sequence) if token != pad)
    return list(sequence[: last + 1])


def label_batch(examples: Sequence[Example], weights: Sequence[Any]) -> LabelBatch:
    """The labels of examples whose responses are stacked in one batch.

    `weights` has one entry per example: a tuple with a weight per head, or one number for all.
    """
    orders: list[tuple[int, Order, float]] = []
    grades: list[tuple[int, Grade, float]] = []
    start = 0
    for example, weight in zip(examples, weights, strict=True):
        orders.extend((start, order, _head_weight(weight, order.head)) for order in example.orders)
        grades.extend((start, grade, _head_weight(weight, grade.head)) for grade in example.grades)
        start += len(example.sequences)
    width = max((len(order.members) for _, order, _ in orders), default=0)

    def padded(rows: list[list[float]], dtype: torch.dtype) -> Tensor:
        filled = [[*row, *[0] * (width - len(row))] for row in rows]
        return torch.tensor(filled, dtype=dtype).reshape(len(rows), width)

    return {
        "order_members": padded(
            [[first + member for member in order.members] for first, order, _ in orders], torch.long
        ),
        "order_ranks": padded([list(order.ranks) for _, order, _ in orders], torch.float32),
        "order_margin": padded([_added_margins(order) for _, order, _ in orders], torch.float32),
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


def _head_weight(weight: Any, head: int) -> float:
    return float(weight[head] if isinstance(weight, tuple) else weight)


def _added_margins(order: Order) -> list[float]:
    """What is added to each score: 0 for the best rank, the margin for the others."""
    return [0.0 if rank == min(order.ranks) else order.margin for rank in order.ranks]


def _graded_heads(example: Example) -> list[int]:
    """The head of each grade; the two parts of a continuous grade count once."""
    return [grade.head for grade in example.grades if grade.share == 1.0 or grade.level == 1]


def _logit(share: float) -> float:
    """The logit of a share, which is clipped to [0.01, 0.99]."""
    share = min(max(share, 0.01), 0.99)
    return math.log(share / (1 - share))


def _free_parameters(thresholds: Sequence[float]) -> list[float]:
    """The inverse of `head_losses.ascending`; steps smaller than 0.01 are raised to 0.01."""
    steps = [max(later - earlier, 0.01) for earlier, later in itertools.pairwise(thresholds)]
    return [thresholds[0], *(float(np.log(np.expm1(step))) for step in steps)]


def _by_level(ladder: Sequence[float], thresholds: Sequence[float]) -> list[tuple[str, float]]:
    return [
        (f"{level:g} or more", value) for level, value in zip(ladder[1:], thresholds, strict=False)
    ]
