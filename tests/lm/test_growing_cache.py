"""A cache with room holds what `DynamicCache` holds, and copies only when its space is used up."""

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, MistralConfig
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from concord.lm import growing_cache as module
from concord.lm.growing_cache import GrowingLayer, growing_cache

CONFIG = LlamaConfig(num_hidden_layers=2)


def states(tokens: int, rows: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(rows, 2, tokens, 4), torch.randn(rows, 2, tokens, 4)


@pytest.mark.parametrize("room", [1, 3, 100])
def test_it_holds_what_a_dynamic_cache_holds(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after rows were removed, repeated or put into another order."""
    monkeypatch.setattr(module, "ROOM", room)
    plain, growing = DynamicCache(config=CONFIG), growing_cache(CONFIG)
    kept, rows = torch.tensor([2, 0]), 3
    for step in range(12):
        if step == 5:
            rows = 2
            for cache in (plain, growing):
                cache.batch_select_indices(kept)
        if step == 8:
            for cache in (plain, growing):
                cache.reorder_cache(torch.tensor([1, 0]))
        new = states(4 if step == 0 else 1, rows)
        for layer in range(2):
            expected, got = (cache.update(*new, layer) for cache in (plain, growing))
            for one, other in zip(expected, got, strict=True):
                assert torch.equal(one, other)
        assert growing.get_seq_length() == plain.get_seq_length() == 4 + step


def test_keys_stay_where_they_are_until_the_space_is_used_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Room for two more tokens: the third one moves the keys."""
    monkeypatch.setattr(module, "ROOM", 2)
    layer = GrowingLayer()
    places = [layer.update(*states(5 if step == 0 else 1))[0].data_ptr() for step in range(4)]
    assert places[0] == places[1] == places[2] != places[3]


def test_layers_with_a_window_stay_as_they_are() -> None:
    windowed = growing_cache(MistralConfig(num_hidden_layers=1, sliding_window=4))
    assert [type(layer) for layer in windowed.layers] == [DynamicSlidingWindowLayer]
    assert all(type(layer) is DynamicLayer for layer in DynamicCache(config=CONFIG).layers)
