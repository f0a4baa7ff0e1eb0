"""Batches of pairs: balanced over groups, each row with its weight in the global batch; and their padding."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from concord.lm.batches import pad_sequences
from concord.policies.model import IGNORED
from concord.stage.errors import DataError

Row = dict[str, Any]


def balanced(
    groups: Mapping[str, Sequence[Row]],
    alpha: Mapping[str, float],
    *,
    steps: int,
    batch_size: int,
    seed: int,
) -> list[Row]:
    """`steps` global batches of `batch_size` rows in order, as near as can be to the same number of each group.

    Each row carries `weight` = alpha_i / n_i(its batch). The rest of batch_size / groups goes round the groups. Groups
    are taken by name and shuffled by (seed, name), so the order in which they are given changes nothing.
    """
    names = sorted(groups)
    if batch_size < len(names):
        raise DataError(
            f"a batch of {batch_size} pairs cannot hold one of each of {len(names)} groups ({', '.join(names)}); "
            f"raise training.batch_size to {len(names)} or more"
        )
    streams = {name: _endless(groups[name], f"{seed}-{name}") for name in names}
    share, rest = divmod(batch_size, len(names))
    rows: list[Row] = []
    for step in range(steps):
        luckier = {names[(step * rest + place) % len(names)] for place in range(rest)}
        batch = [
            (name, next(streams[name])) for name in names for _ in range(share + (name in luckier))
        ]
        weights = row_weights([name for name, _ in batch], alpha)
        rows.extend(
            {**row, "weight": weight} for (_, row), weight in zip(batch, weights, strict=True)
        )
    return rows


def row_weights(groups: Sequence[str], alpha: Mapping[str, float]) -> list[float]:
    """alpha_i / n_i for each pair of one global batch, from the pairs' objectives."""
    counts = {group: groups.count(group) for group in set(groups)}
    return [alpha[group] / counts[group] for group in groups]


def _endless(rows: Sequence[Row], seed: str) -> Iterator[Row]:
    """The rows again and again, in a fresh order each time."""
    generator = random.Random(seed)
    while True:
        yield from generator.sample(list(rows), len(rows))


def collate(pad: int) -> Callable[[list[Row]], dict[str, torch.Tensor]]:
    """Rows -> one batch in which the chosen responses come first and the rejected after them.

    input_ids, attention_mask, labels `(2 * pairs, longest)`, padded on the right; head_ids `(2 * pairs,)`;
    reference `(2, pairs)`; weights `(pairs,)`.
    """

    def padded(rows: list[Row]) -> dict[str, torch.Tensor]:
        sides = [row[side] for side in ("chosen", "rejected") for row in rows]
        batch = labelled(sides, pad)
        heads = torch.tensor([row["head"] for row in rows])
        return {
            **batch,
            "head_ids": heads.repeat(2),
            "reference": torch.tensor(
                [row["reference"] for row in rows], dtype=torch.float32
            ).T.contiguous(),
            "weights": torch.tensor([row["weight"] for row in rows], dtype=torch.float32),
        }

    return padded


def labelled(sequences: Sequence[tuple[list[int], int]], fill: int) -> dict[str, torch.Tensor]:
    """`input_ids`, `attention_mask` and `labels` `(batch, longest)` of (ids, length of the prompt).

    Only the tokens of responses have labels; prompts and padding are `IGNORED`.
    """
    targets = [[IGNORED] * start + ids[start:] for ids, start in sequences]
    batch = pad_sequences([ids for ids, _ in sequences], fill)
    return {**batch, "labels": pad_sequences(targets, IGNORED)["input_ids"]}


def length(row: Row) -> int:
    """Tokens of the longer side."""
    return max(len(row["chosen"][0]), len(row["rejected"][0]))
