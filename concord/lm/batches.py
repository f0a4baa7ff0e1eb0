"""Responses as rows of token ids: with their prompts, padded, and in batches of like length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from concord.lm.chat import Messages, encode

if TYPE_CHECKING:
    import torch


def encode_all(
    tokenizer: Any, messages: Sequence[Messages], responses: Sequence[str]
) -> list[list[int]]:
    """Ids of prompt, response and end of sequence, at most the tokenizer's `model_max_length`."""
    longest = tokenizer.model_max_length
    pairs = zip(messages, responses, strict=True)
    return [encode(tokenizer, prompt, response, longest)[0] for prompt, response in pairs]


def pad_sequences(
    sequences: Sequence[Sequence[int]], fill: int, side: Literal["left", "right"] = "right"
) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask`, int64 `(batch, longest)`, filled up with the id `fill` on one side.

    Examples:
        >>> pad_sequences([[5, 6, 7], [8]], 0)["input_ids"].tolist()
        [[5, 6, 7], [8, 0, 0]]
        >>> pad_sequences([[5, 6, 7], [8]], 0, side="left")["attention_mask"].tolist()
        [[1, 1, 1], [0, 0, 1]]
    """
    import torch

    longest = max(map(len, sequences))
    gaps = [longest - len(row) for row in sequences]
    ids = [list(row) for row in sequences]
    mask = [[1] * len(row) for row in sequences]
    if side == "left":
        ids = [[fill] * gap + row for gap, row in zip(gaps, ids, strict=True)]
        mask = [[0] * gap + row for gap, row in zip(gaps, mask, strict=True)]
    else:
        ids = [row + [fill] * gap for gap, row in zip(gaps, ids, strict=True)]
        mask = [row + [0] * gap for gap, row in zip(gaps, mask, strict=True)]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def by_length(encoded: Sequence[list[int]], batch_size: int) -> Iterator[list[int]]:
    """The places of all sequences, in batches of like length."""
    order = sorted(range(len(encoded)), key=lambda row: len(encoded[row]))
    return (order[start : start + batch_size] for start in range(0, len(order), batch_size))


def in_batches(
    encoded: Sequence[list[int]],
    batch_size: int,
    width: int,
    score: Callable[[list[list[int]]], np.ndarray],
) -> np.ndarray:
    """`score` on batches of sequences of like length; float32 `[n, width]` in the given order."""
    result = np.zeros((len(encoded), width), dtype=np.float32)
    for rows in by_length(encoded, batch_size):
        result[rows] = score([encoded[row] for row in rows])
    return result
