"""Bradley-Terry training of reward heads on pairs: L = sum_i w_i * mean over the rows of objective i in the batch.

A row is one pair of one objective: {"chosen": ids, "rejected": ids, "head": i}. Its loss -log sigmoid(s_i(chosen) -
s_i(rejected)) reads head i alone, so a head without rows in a batch contributes exactly 0, and no other weighs more
for it. (Bradley and Terry 1952; one backbone with several heads: L = sum_i w_i L_pref,i.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import logsigmoid

Row = dict[str, Any]


def row_weights(loss_weights: Sequence[float]) -> Callable[[list[Row]], list[float]]:
    """Weights w_i / n_i of the rows of one global batch, n_i being its number of rows of objective i."""

    def weigh(batch: list[Row]) -> list[float]:
        counts = Counter(row["head"] for row in batch)
        return [loss_weights[row["head"]] / counts[row["head"]] for row in batch]

    return weigh


def longer(row: Row) -> int:
    """Tokens of the longer side: what a batch is padded to."""
    return max(len(row["chosen"]), len(row["rejected"]))


def pad_right(sequences: Sequence[Sequence[int]], pad: int) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask` (batch, longest)."""
    longest = max(map(len, sequences))
    ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in sequences])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in sequences])
    return {"input_ids": ids, "attention_mask": mask}


def collate(pad: int) -> Callable[[list[Row]], dict[str, torch.Tensor]]:
    """Chosen rows, then rejected rows, as one batch (2 B, longest), with `head` and `weight` (B)."""

    def batch(rows: list[Row]) -> dict[str, torch.Tensor]:
        sides = [row["chosen"] for row in rows] + [row["rejected"] for row in rows]
        return {
            **pad_right(sides, pad),
            "head": torch.tensor([row["head"] for row in rows]),
            "weight": torch.tensor([row["weight"] for row in rows]),
        }

    return batch


def loss(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
    """The weighted sum of the pairs' losses, and the share of pairs in the right order."""
    margin = margins(model, batch)
    return -(batch["weight"] * logsigmoid(margin)).sum(), {"pair_accuracy": (margin > 0).float().mean().item()}


def margins(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """(B,) s_i(chosen) - s_i(rejected) in float32, i being each row's own objective; one forward pass."""
    scores = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.float()  # (2 B, H)
    own = scores.gather(1, batch["head"].repeat(2).unsqueeze(1)).squeeze(1)
    chosen, rejected = own.chunk(2)
    return torch.sub(chosen, rejected)


def pair_accuracy(
    model: torch.nn.Module, rows: Sequence[Row], collator: Callable[[list[Row]], Any], objectives: Sequence[str]
) -> dict[str, float]:
    """Share of the rows of each objective that the model puts in the right order, as `validation_<objective>`."""
    right: dict[int, list[bool]] = {}
    device = next(model.parameters()).device
    for start in range(0, len(rows), 64):
        batch = collator([{**row, "weight": 0.0} for row in rows[start : start + 64]])
        margin = margins(model, {name: value.to(device) for name, value in batch.items()})
        for head, value in zip(batch["head"].tolist(), margin.tolist(), strict=True):
            right.setdefault(head, []).append(value > 0)
    return {f"validation_{objectives[head]}": sum(hits) / len(hits) for head, hits in sorted(right.items())}
