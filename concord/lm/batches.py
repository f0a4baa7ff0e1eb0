"""Token ids of prompts with their responses: encoding, padding, and batches of similar length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from concord.lm.chat import Messages, TooLongError, encode
from concord.lm.types import Tokenizer
from concord.stage.finished_parts import part

if TYPE_CHECKING:
    import torch


def encode_all(
    tokenizer: Tokenizer,
    messages: Sequence[Messages],
    responses: Sequence[str],
    steady_cut: bool = False,
) -> list[list[int]]:
    """Token ids of each prompt, its response and the end-of-sequence token.

    Prompts are truncated on the left so that no sequence exceeds `tokenizer.model_max_length`, with
    `steady_cut` as in `concord.lm.chat.encode`. Raises TooLongError if a response does not fit.
    """
    max_length = tokenizer.model_max_length
    pairs = zip(messages, responses, strict=True)
    return [
        encode(tokenizer, prompt, response, max_length, steady_cut)[0] for prompt, response in pairs
    ]


def encode_fitting(
    tokenizer: Tokenizer,
    messages: Sequence[Messages],
    responses: Sequence[str],
    steady_cut: bool = False,
) -> tuple[list[int], list[list[int]]]:
    """As `encode_all`, for the responses that fit in `tokenizer.model_max_length`.

    Returns their row numbers and token ids. The number of the other responses is printed.
    """
    rows, encoded = [], []
    for row, (prompt, response) in enumerate(zip(messages, responses, strict=True)):
        try:
            encoded += encode_all(tokenizer, [prompt], [response], steady_cut)
        except TooLongError:
            continue
        rows.append(row)
    if left_out := len(responses) - len(rows):
        print(
            f"left out {left_out} of {len(responses)} responses: with the assistant header, they "
            f"exceed max_length {tokenizer.model_max_length}"
        )
    return rows, encoded


def pad_sequences(
    sequences: Sequence[Sequence[int]], fill: int, side: Literal["left", "right"] = "right"
) -> dict[str, torch.Tensor]:
    """Pads sequences with the id `fill` to the length of the longest.

    Returns `input_ids` and `attention_mask`, both int64 `(batch, seq)`.

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


def batches_by_length(encoded: Sequence[list[int]], batch_size: int) -> Iterator[list[int]]:
    """Indices of all sequences, shortest first, in batches of `batch_size`.

    Examples:
        >>> list(batches_by_length([[1, 2, 3], [4], [5, 6]], 2))
        [[1, 2], [0]]
    """
    order = sorted(range(len(encoded)), key=lambda row: len(encoded[row]))
    return (order[start : start + batch_size] for start in range(0, len(order), batch_size))


def score_in_batches(
    encoded: Sequence[list[int]],
    batch_size: int,
    width: int,
    score: Callable[[list[list[int]]], np.ndarray],
) -> np.ndarray:
    """Scores all sequences in batches of similar length.

    `score` maps a list of sequences to an array `(batch, width)`. Returns float32 `(n, width)`, in
    the order of `encoded`. Each batch is a finished part of the stage.
    """
    result = np.zeros((len(encoded), width), dtype=np.float32)
    for rows in batches_by_length(encoded, batch_size):
        batch = [encoded[row] for row in rows]
        result[rows] = part("scores", batch, partial(score, batch))
    return result
