"""States of many sequences, those that begin alike sharing the work on their beginning.

Answers to one prompt differ in their end alone. On a CPU, where every token costs, a beginning goes through the model
once, and its keys and values are repeated for the ends. (A GPU rather takes full batches of whole sequences.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import torch
from transformers import DynamicCache

from concord.lm.batches import pad_sequences

SHARED = 0.3
"""Sequences are put together where they share this part of the longer one at least."""
LOST = 0.3
"""A sequence opens a new group where it shares this part more with the next one than with the group."""


class Group(NamedTuple):
    """Sequences, by their places, that begin with the same `shared` ids."""

    rows: list[int]
    shared: int


def groups(sequences: Sequence[list[int]], most: int) -> Iterator[Group]:
    """All sequences, in groups of at most `most` that share a beginning; none is wholly shared."""
    order = sorted(range(len(sequences)), key=lambda row: sequences[row])
    rows: list[int] = []
    shared = 0
    for row, following in zip(
        order, [*order[1:], None], strict=False
    ):  # of none there is none to follow
        ids = sequences[row]
        if rows:
            common = min(_common(sequences[rows[0]], ids), shared, len(ids) - 1)
            onward = 0 if following is None else _common(ids, sequences[following])
            alike = (
                common >= SHARED * max(len(ids), len(sequences[rows[0]]))
                and common >= (1 - LOST) * onward
            )
            if len(rows) < most and alike:
                rows, shared = [*rows, row], common
                continue
            yield Group(rows, shared)
        rows, shared = [row], len(ids) - 1
    if rows:
        yield Group(rows, shared)


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


class States(NamedTuple):
    """After each layer (0: the embeddings), the states of sequences that begin alike."""

    beginning: list[torch.Tensor]
    """`[shared, width]`."""
    ends: list[torch.Tensor]
    """`[n, longest end, width]`, padded on the right."""
    lengths: torch.Tensor
    """Tokens of each end, `[n]`."""

    def last(self, layer: int) -> torch.Tensor:
        """`[n, width]` of the last tokens."""
        return self.ends[layer][torch.arange(len(self.lengths)), self.lengths - 1].float()

    def mean(self, layer: int, starts: torch.Tensor) -> torch.Tensor:
        """`[n, width]`, the mean over the tokens of each whole sequence from its start `[n]` on."""
        beginning, ends = self.beginning[layer].float(), self.ends[layer].float()
        shared = len(beginning)
        place = torch.arange(shared + ends.shape[1], device=ends.device)
        kept = ((place >= starts[:, None]) & (place < shared + self.lengths[:, None])).float()
        total = kept[:, :shared] @ beginning + torch.einsum("nt,ntw->nw", kept[:, shared:], ends)
        return total / kept.sum(dim=1, keepdim=True)


def states(model: Any, ends: Sequence[Sequence[int]], beginning: Sequence[int], pad: int) -> States:
    """The states of `beginning` + each end. `model` is the backbone without its output matrix. No end is empty; the
    beginning may be."""
    batch = {name: value.to(model.device) for name, value in pad_sequences(ends, pad).items()}
    lengths = torch.tensor([len(end) for end in ends], device=model.device)
    with torch.inference_mode():
        cache, before = None, None
        if beginning:
            cache = DynamicCache(config=model.config)
            ids = torch.tensor([list(beginning)], device=model.device)
            before = model(
                input_ids=ids, past_key_values=cache, output_hidden_states=True
            ).hidden_states
            cache.batch_repeat_interleave(len(ends))
            known = batch["attention_mask"].new_ones(len(ends), len(beginning))
            batch["attention_mask"] = torch.cat([known, batch["attention_mask"]], dim=1)
        found = model(
            **batch, past_key_values=cache, output_hidden_states=True, use_cache=False
        ).hidden_states
        none = [own.new_zeros(0, own.shape[-1]) for own in found]
    return States([own[0] for own in before] if before else none, list(found), lengths)
