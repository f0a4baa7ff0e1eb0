"""Hidden states of many sequences; sequences with a common prefix share its computation.

Responses to one prompt differ only after the prompt. On a CPU, where every token costs time, the
shared prefix is processed once and its keys and values are repeated for the suffixes. (On a GPU,
full batches of whole sequences are faster.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import takewhile
from typing import Any, NamedTuple, TypeVar

import torch
from transformers import DynamicCache

from concord.lm.batches import batches_by_length, pad_sequences
from concord.stage import progress
from concord.stage.finished_parts import Keep, part

T = TypeVar("T")

MIN_SHARED = 0.3
"""Sequences are grouped if their common prefix is at least this share of the longer sequence."""
MAX_LOSS = 0.3
"""A sequence starts a new group if joining the old one would lose more than this share of the
prefix that it has in common with the next sequence."""


class Group(NamedTuple):
    """Sequences with the same first `shared` token ids."""

    rows: list[int]
    """Indices of the sequences."""
    shared: int
    """Length of the common prefix."""


def groups(sequences: Sequence[list[int]], max_size: int) -> Iterator[Group]:
    """Splits the sequences into groups of at most `max_size` that have a common prefix.

    The prefix is always shorter than every sequence of its group.

    Examples:
        >>> list(groups([[1, 2, 3, 4], [9, 8], [1, 2, 3, 5]], max_size=64))
        [Group(rows=[0, 2], shared=3), Group(rows=[1], shared=1)]
    """
    order = sorted(range(len(sequences)), key=lambda row: sequences[row])
    rows: list[int] = []
    shared = 0
    for row, following in zip(order, [*order[1:], None], strict=False):
        ids = sequences[row]
        if rows:
            common = min(_common_length(sequences[rows[0]], ids), shared, len(ids) - 1)
            with_next = 0 if following is None else _common_length(ids, sequences[following])
            similar = (
                common >= MIN_SHARED * max(len(ids), len(sequences[rows[0]]))
                and common >= (1 - MAX_LOSS) * with_next
            )
            if len(rows) < max_size and similar:
                rows, shared = [*rows, row], common
                continue
            yield Group(rows, shared)
        rows, shared = [row], len(ids) - 1
    if rows:
        yield Group(rows, shared)


def _common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common prefix of two sequences."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


class States(NamedTuple):
    """Hidden states of sequences with a common prefix, by layer; index 0 holds the embeddings."""

    prefix: list[torch.Tensor]
    """Per layer `(shared, width)`."""
    suffixes: list[torch.Tensor]
    """Per layer `(n, longest suffix, width)`, padded on the right."""
    lengths: torch.Tensor
    """Tokens of each suffix, `(n,)`."""

    def last(self, layer: int) -> torch.Tensor:
        """States of the last tokens, `(n, width)`."""
        return self.suffixes[layer][torch.arange(len(self.lengths)), self.lengths - 1].float()

    def at(self, layer: int, rows: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """States `(k, width)` at single tokens: `positions` `(k,)` of the sequences `rows` `(k,)`.

        Positions count from the start of the whole sequence, prefix included.
        """
        prefix, suffixes = self.prefix[layer], self.suffixes[layer]
        shared, before = len(prefix), positions < len(prefix)
        result = suffixes[rows, (positions - shared).clamp(min=0)]
        result[before] = prefix[positions[before]]
        return result.float()

    def mean(self, layer: int, starts: torch.Tensor) -> torch.Tensor:
        """Mean states `(n, width)` over the tokens of each sequence from index `starts` `(n,)` on.

        The indices count from the start of the whole sequence, prefix included.
        """
        prefix, suffixes = self.prefix[layer].float(), self.suffixes[layer].float()
        shared = len(prefix)
        index = torch.arange(shared + suffixes.shape[1], device=suffixes.device)
        kept = ((index >= starts[:, None]) & (index < shared + self.lengths[:, None])).float()
        total = kept[:, :shared] @ prefix + torch.einsum("nt,ntw->nw", kept[:, shared:], suffixes)
        return total / kept.sum(dim=1, keepdim=True)


def read(
    model: Any,
    sequences: Sequence[list[int]],
    pad: int,
    pool: Callable[[list[int], States], T],
    batch_size: int = 64,
    asked: Sequence[Any] | None = None,
    keep: Keep = part,
) -> Iterator[tuple[list[int], T]]:
    """What `pool` makes of the states of a batch of sequences, with the indices of the sequences.

    On a CPU a batch is a group with a common prefix, elsewhere it has sequences of similar length.

    Args:
        model: the backbone.
        sequences: token ids.
        pad: the token id for padding.
        pool: called with the indices of a batch and its states.
        batch_size: most sequences per batch.
        asked: per sequence, what decides the result beside the ids; None if nothing does.
        keep: keeps the result of each batch: by default it is a finished part of the stage. With
            `concord.stage.kept_results` it outlives the stage. On a CPU the groups of the prompts
            that there were stay the same when prompts are added.
    """
    reporter, done = progress.Reporter(len(sequences), "features"), 0
    batches: Iterable[tuple[list[int], int]]
    if model.device.type == "cpu":
        batches = groups(sequences, batch_size)
    else:
        batches = ((rows, 0) for rows in batches_by_length(sequences, batch_size))

    def pooled(rows: list[int], shared: int) -> T:
        suffixes = [sequences[row][shared:] for row in rows]
        return pool(rows, states(model, suffixes, sequences[rows[0]][:shared], pad))

    for rows, shared in batches:
        ids = [sequences[row] for row in rows]
        request = ids if asked is None else [ids, [asked[row] for row in rows]]
        yield rows, keep("features", request, partial(pooled, rows, shared))
        done += len(rows)
        reporter(done)


def tokens_read(sequences: Sequence[list[int]], batch_size: int = 64) -> int:
    """Tokens that go through the model in `read` on a CPU: those of a common prefix count once."""
    return sum(
        shared + sum(len(sequences[row]) - shared for row in rows)
        for rows, shared in groups(sequences, batch_size)
    )


def states(
    model: Any, suffixes: Sequence[Sequence[int]], prefix: Sequence[int], pad: int
) -> States:
    """The states of `prefix` followed by each suffix.

    `model` is the backbone without its output matrix. The prefix may be empty, a suffix may not.
    """
    batch = {name: value.to(model.device) for name, value in pad_sequences(suffixes, pad).items()}
    lengths = torch.tensor([len(suffix) for suffix in suffixes], device=model.device)
    with torch.inference_mode():
        cache, prefix_states = None, None
        if prefix:
            cache = DynamicCache(config=model.config)
            ids = torch.tensor([list(prefix)], device=model.device)
            prefix_states = model(
                input_ids=ids, past_key_values=cache, output_hidden_states=True
            ).hidden_states
            cache.batch_repeat_interleave(len(suffixes))
            prefix_mask = batch["attention_mask"].new_ones(len(suffixes), len(prefix))
            batch["attention_mask"] = torch.cat([prefix_mask, batch["attention_mask"]], dim=1)
        suffix_states = model(
            **batch, past_key_values=cache, output_hidden_states=True, use_cache=False
        ).hidden_states
        empty = [layer.new_zeros(0, layer.shape[-1]) for layer in suffix_states]
    before = [layer[0] for layer in prefix_states] if prefix_states else empty
    return States(before, list(suffix_states), lengths)
