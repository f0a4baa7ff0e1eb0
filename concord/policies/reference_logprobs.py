"""Tokenises pairs and computes their log-probabilities under the frozen reference model, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from concord.lm.chat import encode
from concord.lm.types import Tokenizer
from concord.policies.balanced_batches import Row, pad_with_labels
from concord.policies.model import MultiHeadCausalLM, one_hot
from concord.policies.training_pairs import Pair
from concord.stage import progress
from concord.stage.errors import DataError

SIDES = ("chosen", "rejected")
BATCH = 64
"""Sequences per forward pass of the reference model."""


def encode_pairs(
    pairs: Mapping[str, Sequence[Pair]],
    heads: Mapping[str, int],
    names: Sequence[str],
    tokenizer: Tokenizer,
    max_length: int,
) -> dict[str, list[Row]]:
    """Group -> rows with `chosen`, `rejected`, `mix` (the weight of each head of `names`), `margin`
    and `sharpness`.

    A pair with `weights` is learned by that mix of the heads, another one by the head of its group
    in `heads`. Pairs whose sides have the same token ids carry no training signal and are dropped.
    Raises DataError if no pair of a group is left.
    """
    encoded: dict[str, list[Row]] = {}
    for group, members in pairs.items():
        rows = [
            {
                **_sides(pair, tokenizer, max_length),
                "mix": _mix(pair, heads.get(group), names),
                "margin": pair.margin,
                "sharpness": pair.sharpness,
            }
            for pair in members
        ]
        encoded[group] = [row for row in rows if row["chosen"] != row["rejected"]]
        if len(rows) > len(encoded[group]):
            print(
                f"{group}: dropped {len(rows) - len(encoded[group])} of {len(rows)} pairs: "
                "both sides have the same tokens"
            )
        if not encoded[group]:
            raise DataError(
                f"{group}: the two sides of every pair have the same tokens, so nothing can be "
                "learned; add pairs that differ"
            )
    return encoded


def _sides(pair: Pair, tokenizer: Tokenizer, max_length: int) -> Row:
    return {
        side: encode(tokenizer, pair.messages, getattr(pair, side), max_length) for side in SIDES
    }


def _mix(pair: Pair, head: int | None, names: Sequence[str]) -> list[float]:
    if pair.weights is None:
        return [float(index == head) for index in range(len(names))]
    return [pair.weights.get(name, 0.0) for name in names]


def add_reference(rows: Sequence[Row], reference: MultiHeadCausalLM, pad: int) -> None:
    """Adds `reference` to every row: the log-probabilities (chosen, rejected), in nats.

    `reference` must be freshly built from the SFT model, so that every head equals the SFT model's
    output matrix. A sequence that occurs in several rows is computed once.
    """
    distinct = {_key(row[side]): row[side] for row in rows for side in SIDES}
    sequences = sorted(distinct.values(), key=lambda sequence: len(sequence[0]))
    batches = [sequences[start : start + BATCH] for start in range(0, len(sequences), BATCH)]
    values: dict[tuple[tuple[int, ...], int], float] = {}
    with torch.no_grad():
        for batch in progress.track(batches, len(batches), "reference log-probabilities"):
            inputs = {
                name: tensor.to(reference.device)
                for name, tensor in pad_with_labels(batch, pad).items()
            }
            first = one_hot([0] * len(batch), len(reference.head_names))
            logprobs = reference(**inputs, head_weights=first, use_cache=False).logprobs.tolist()
            values.update(zip(map(_key, batch), logprobs, strict=True))
    for row in rows:
        row["reference"] = tuple(values[_key(row[side])] for side in SIDES)


def _key(sequence: tuple[list[int], int]) -> tuple[tuple[int, ...], int]:
    ids, start = sequence
    return tuple(ids), start
