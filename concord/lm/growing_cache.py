"""A cache of keys and values with room for the tokens to come.

`DynamicCache` copies all keys and values at each new token. This cache writes new tokens into free
space, and copies only when it is used up.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

ROOM = 32
"""Tokens that a layer makes room for when its space is used up."""


def growing_cache(config: Any) -> DynamicCache:
    """An empty cache for a model with this configuration. Layers with a window stay as they are."""
    cache = DynamicCache(config=config.get_text_config())
    cache.layers = [
        GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache


class GrowingLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """`keys` and `values` `(rows, heads, seq, width)` are the used beginning of larger tensors.

    The methods that it inherits put other tensors in their place. The next update then makes room
    again.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._space: list[Tensor] = []
        self._used: tuple[Tensor | None, Tensor | None] = (None, None)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Adds the states `(rows, heads, new, width)`; returns all keys and all values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        old, new = (self.keys, self.values), (key_states, value_states)
        replaced = old[0] is not self._used[0] or old[1] is not self._used[1]
        if replaced or end > self._space[0].shape[-2]:
            self._space = [
                _with_room(before, states, start, end)
                for before, states in zip(old, new, strict=True)
            ]
        for space, states in zip(self._space, new, strict=True):
            space[..., start:end, :] = states
        self.keys, self.values = (space[..., :end, :] for space in self._space)
        self._used = self.keys, self.values
        return self.keys, self.values


def _with_room(old: Tensor | None, new: Tensor, start: int, end: int) -> Tensor:
    """Space for `end` tokens and more, of which the first `start` are those of `old`."""
    space = torch.empty(
        (*new.shape[:-2], end + ROOM, new.shape[-1]), dtype=new.dtype, device=new.device
    )
    if old is not None and start:
        space[..., :start, :] = old
    return space
