"""Global batches of preference pairs, balanced over groups, and their collation into tensors."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor

from concord.lm.batches import pad_sequences
from concord.policies.model import IGNORED
from concord.policies.shared_tokens import Packed, pack
from concord.stage.errors import DataError

Row = dict[str, Any]
"""One encoded pair. `chosen` and `rejected` are tuples (token ids, number of prompt tokens); `mix`
holds one weight per head: the mix of the heads that learns from the pair. `reference` holds the
log-probabilities of both responses under the reference model, and `weight` the weight of the pair's
loss. `margin` and `sharpness` are those of the pair."""


class PairBatch(TypedDict):
    """A batch of pairs. Rows `0 .. pairs - 1` are the chosen responses, the rest the rejected."""

    input_ids: Tensor
    """int64 `(2 * pairs, seq)`, padded on the right."""
    attention_mask: Tensor
    """int64 `(2 * pairs, seq)`."""
    labels: Tensor
    """int64 `(2 * pairs, seq)`; `IGNORED` for prompts and padding."""
    head_weights: Tensor
    """float32 `(2 * pairs, heads)`: the mix of the heads that learns from the row."""
    reference: Tensor
    """float32 `(2, pairs)`: log-probabilities of the chosen and of the rejected responses."""
    weights: Tensor
    """float32 `(pairs,)`."""
    margin: Tensor
    """float32 `(pairs,)`, in nats."""
    sharpness: Tensor
    """float32 `(pairs,)`: factors of `beta`."""
    packed: NotRequired[Packed]
    """The same sequences with each distinct token once, if that saves enough."""


def balance(
    groups: Mapping[str, Sequence[Row]],
    alpha: Mapping[str, float],
    *,
    steps: int,
    batch_size: int,
    seed: int,
    shares: Mapping[str, float] | None = None,
) -> list[Row]:
    """`steps` global batches of `batch_size` rows each, concatenated, balanced over `groups`.

    Each batch holds `shares` of each group, rounded so that the shares hold over all batches. The
    `weight` of a row is alpha_i / n_i, where n_i is the number of rows of its group in the batch.
    Groups are sorted by name and shuffled with a seed made of `seed` and the name, so their order
    in `groups` does not matter.

    Args:
        alpha: the loss weight of each group.
        shares: the share of each group in a batch, with the sum 1; equal shares if None.

    Raises:
        DataError: `batch_size` is so small that a group would be missing from a batch.
    """
    names = sorted(groups)
    shares = shares or dict.fromkeys(names, 1 / len(names))
    needed = math.ceil(1 / min(shares.values()) - 1e-9)
    if batch_size < needed:
        raise DataError(
            f"a batch of {batch_size} pairs cannot hold one pair of each of {len(names)} groups "
            f"({', '.join(names)}); raise training.batch_size to {needed} or more"
        )
    streams = {name: _shuffled_passes(groups[name], f"{seed}-{name}") for name in names}
    given = dict.fromkeys(names, 0)
    rows: list[Row] = []
    for step in range(steps):
        due = {
            name: round(shares[name] * batch_size * (step + 1) - given[name], 6) for name in names
        }
        counts = {name: math.floor(due[name]) for name in names}
        behind = sorted(names, key=lambda name: counts[name] - due[name])  # stable: ties by name
        for name in behind[: batch_size - sum(counts.values())]:
            counts[name] += 1
        batch = [(name, next(streams[name])) for name in names for _ in range(counts[name])]
        given = {name: given[name] + counts[name] for name in names}
        weights = row_weights([name for name, _ in batch], alpha)
        rows.extend(
            {**row, "weight": weight} for (_, row), weight in zip(batch, weights, strict=True)
        )
    return rows


def row_weights(groups: Sequence[str], alpha: Mapping[str, float]) -> list[float]:
    """alpha_i / n_i for each pair of a global batch, given the groups of the pairs.

    Examples:
        >>> row_weights(["a", "a", "b"], {"a": 0.5, "b": 0.25})
        [0.25, 0.25, 0.25]
    """
    counts = {group: groups.count(group) for group in set(groups)}
    return [alpha[group] / counts[group] for group in groups]


def _shuffled_passes(rows: Sequence[Row], seed: str) -> Iterator[Row]:
    """Endless passes over the rows, each in a new order."""
    generator = random.Random(seed)
    while True:
        yield from generator.sample(list(rows), len(rows))


def collate(
    pad: int, *, share_tokens: bool = False, by_mix: bool = False
) -> Callable[[list[Row]], PairBatch]:
    """A collate function that pads rows with the token id `pad`.

    With `share_tokens`, batches are packed where it pays (`concord.policies.shared_tokens`). A
    model with adapters needs `by_mix`: only sequences with the same mix share tokens.
    """

    def collate_rows(rows: list[Row]) -> PairBatch:
        sides = [row[side] for side in ("chosen", "rejected") for row in rows]
        batch = pad_with_labels(sides, pad)
        mixes = [tuple(row["mix"]) for row in rows] * 2 if by_mix else None
        packed = pack(sides, pad, mixes) if share_tokens else None
        mix = torch.tensor([row["mix"] for row in rows], dtype=torch.float32)
        pairs: PairBatch = {
            "input_ids": batch["input_ids"],
            "attention_mask": batch["attention_mask"],
            "labels": batch["labels"],
            "head_weights": mix.repeat(2, 1),
            "reference": torch.tensor(
                [row["reference"] for row in rows], dtype=torch.float32
            ).T.contiguous(),
            "weights": _values(rows, "weight"),
            "margin": _values(rows, "margin"),
            "sharpness": _values(rows, "sharpness"),
        }
        if packed is not None:
            pairs["packed"] = packed
        return pairs

    return collate_rows


def _values(rows: list[Row], key: str) -> Tensor:
    """float32 `(rows,)`."""
    return torch.tensor([row[key] for row in rows], dtype=torch.float32)


def pad_with_labels(sequences: Sequence[tuple[list[int], int]], pad: int) -> dict[str, Tensor]:
    """`input_ids`, `attention_mask` and `labels`, int64 `(batch, seq)`, padded on the right.

    Args:
        sequences: token ids and the number of prompt tokens. Prompts and padding get the label
            `IGNORED`.
        pad: the token id of padding.

    Examples:
        >>> batch = pad_with_labels([([5, 6, 7], 2), ([8], 0)], pad=0)
        >>> batch["input_ids"].tolist()
        [[5, 6, 7], [8, 0, 0]]
        >>> batch["labels"].tolist()
        [[-100, -100, 7], [8, -100, -100]]
    """
    targets = [[IGNORED] * start + ids[start:] for ids, start in sequences]
    batch = pad_sequences([ids for ids, _ in sequences], pad)
    return {**batch, "labels": pad_sequences(targets, IGNORED)["input_ids"]}


def pair_length(row: Row) -> int:
    """Number of tokens of the longer side of a pair."""
    return max(len(row["chosen"][0]), len(row["rejected"][0]))
