"""Hidden states of a frozen model at the ends of steps, from one forward pass per solution.

Solutions with a common beginning (a correct one and its modified copy) share the computation of
that beginning. They go through the model sorted by tokens, and the keys and values of the prefix
that a solution shares with the next one are reused.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]
import numpy as np

from concord.lm.load import load_causal
from concord.rewards.outcome.probe import check_layers, weights_hash
from concord.stage import progress

Window = tuple[tuple[int, ...], tuple[int, ...]]
"""Token ids of a solution, and the positions at which its steps end."""
SPEED = {"bfloat16": 700, "float32": 230}
"""Measured tokens per second of a 135M-parameter model on one core with bfloat16 support."""


def cached_step_states(
    folder: Path, model: Path, dtype: str, layers: Sequence[int], windows: Sequence[Window]
) -> list[np.ndarray]:
    """`step_states`, cached in `folder` for the same code, weights and windows."""
    memory = joblib.Memory(folder, verbose=0)
    computed = memory.cache(step_states, ignore=["model"])(
        model, weights_hash(model), dtype, list(layers), list(windows)
    )
    return list(computed)


def step_states(
    model: Path, weights: str, dtype: str, layers: Sequence[int], windows: Sequence[Window]
) -> list[np.ndarray]:
    """States at the ends of the steps of each window, float32 (steps, layers * width).

    `weights` is the hash of the model's weights, so that the cache distinguishes models.
    """
    import torch
    from transformers import DynamicCache

    backbone = load_causal(model, dtype=dtype).base_model
    check_layers(backbone, layers)
    order = sorted(range(len(windows)), key=lambda number: windows[number][0])
    starts = _shared_lengths([windows[number][0] for number in order])
    new_tokens = (
        len(windows[number][0]) - start for number, start in zip(order, starts, strict=True)
    )
    tokens = sum(new_tokens)
    total = sum(len(ids) for ids, _ in windows)
    print(
        f"{tokens} of {total} tokens go through the model, the others are shared prefixes: about "
        f"{tokens / SPEED[dtype] / 60:.0f} minutes on one core for 135M parameters",
        flush=True,
    )
    results: list[Any] = [None] * len(windows)
    cache = DynamicCache(config=backbone.config)
    states = torch.zeros(0, len(layers) * backbone.config.hidden_size)
    with torch.inference_mode():
        for number, start in zip(
            progress.track(order, len(order), "states of steps"), starts, strict=True
        ):
            ids, ends = windows[number]
            if len(states) > start:
                cache.crop(start - len(states))
            new = backbone(
                input_ids=torch.tensor([ids[start:]]),
                past_key_values=cache,
                output_hidden_states=True,
            )
            new_states = torch.cat([new.hidden_states[layer][0] for layer in layers], dim=1).float()
            states = torch.cat([states[:start], new_states])  # (len(ids), layers * width)
            results[number] = states[list(ends)].numpy()
    return results


def _shared_lengths(sequences: Sequence[Sequence[int]]) -> list[int]:
    """Length of the prefix that each sequence shares with the previous one.

    The last token of a sequence is never shared.
    """
    pairs = zip([(), *sequences[:-1]], sequences, strict=True)
    return [min(_common(before, ids), len(ids) - 1) for before, ids in pairs]


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
