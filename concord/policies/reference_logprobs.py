"""Pairs as token ids, and their log-probabilities under the frozen reference, computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from concord.lm.chat import encode
from concord.policies.balanced_batches import Row, labelled
from concord.policies.training_pairs import Pair
from concord.stage import progress
from concord.stage.errors import DataError

SIDES = ("chosen", "rejected")
BATCH = 64


def encode_pairs(
    pairs: Mapping[str, Sequence[Pair]], heads: Mapping[str, int], tokenizer: Any, max_length: int
) -> dict[str, list[Row]]:
    """Group -> rows with `chosen` and `rejected` as (ids, length of the prompt) and `head`, the index for that group.

    Pairs whose two sides are the same tokens teach nothing and are left out; a group left with none is a DataError.
    """
    encoded: dict[str, list[Row]] = {}
    for group, members in pairs.items():
        rows = [_row(pair, heads[group], tokenizer, max_length) for pair in members]
        encoded[group] = [row for row in rows if row["chosen"] != row["rejected"]]
        if len(rows) > len(encoded[group]):
            print(
                f"{group}: {len(rows) - len(encoded[group])} of {len(rows)} pairs are equal token by token, left out"
            )
        if not encoded[group]:
            raise DataError(
                f"no pair of {group} is left whose sides differ, so it cannot be learned"
            )
    return encoded


def _row(pair: Pair, head: int, tokenizer: Any, max_length: int) -> Row:
    sides = {
        side: encode(tokenizer, pair.messages, getattr(pair, side), max_length) for side in SIDES
    }
    return {**sides, "head": head}


def add_reference(rows: Sequence[Row], reference: Any, pad: int) -> None:
    """Gives every row `reference`: log-probabilities (chosen, rejected) under the one head of the frozen `reference`.

    `reference` is a `MultiHeadCausalLM` as built from the SFT model: any of its heads is the SFT model's. A sequence
    that stands in several rows, or in several objectives, is computed once.
    """
    distinct = {_key(row[side]): row[side] for row in rows for side in SIDES}
    sequences = sorted(distinct.values(), key=lambda sequence: len(sequence[0]))
    batches = [sequences[start : start + BATCH] for start in range(0, len(sequences), BATCH)]
    values: dict[tuple[tuple[int, ...], int], float] = {}
    with torch.no_grad():
        for batch in progress.track(batches, len(batches), "reference log-probabilities"):
            inputs = {
                name: tensor.to(reference.device) for name, tensor in labelled(batch, pad).items()
            }
            heads = torch.zeros(len(batch), dtype=torch.long, device=reference.device)
            logprobs = reference(**inputs, head_ids=heads, use_cache=False).logprobs.tolist()
            values.update(zip(map(_key, batch), logprobs, strict=True))
    for row in rows:
        row["reference"] = tuple(values[_key(row[side])] for side in SIDES)


def _key(sequence: tuple[list[int], int]) -> tuple[tuple[int, ...], int]:
    ids, start = sequence
    return tuple(ids), start
