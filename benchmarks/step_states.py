"""States of a frozen model at the ends of steps: one pass of a solution gives those of all of its steps.

Solutions that begin alike, such as a right one and the same with an error put in, share the work on their beginning:
they go through the model in the order of their tokens, and the keys and values of what the last one has in common with
the next one are kept.
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
"""Ids of a solution, and the places in it at which steps end."""
SPEED = {"bfloat16": 700, "float32": 230}
"""Tokens per second of a model of 135M parameters on one core that knows bfloat16 (measured)."""


def kept(
    folder: Path, model: Path, dtype: str, layers: Sequence[int], windows: Sequence[Window]
) -> list[np.ndarray]:
    """`step_states` of the windows, from `folder` where they were computed before by the same code and weights."""
    memory = joblib.Memory(folder, verbose=0)
    found = memory.cache(step_states, ignore=["model"])(
        model, weights_hash(model), dtype, list(layers), list(windows)
    )
    return list(found)


def step_states(
    model: Path, weights: str, dtype: str, layers: Sequence[int], windows: Sequence[Window]
) -> list[np.ndarray]:
    """float32 (steps, layers * width) of each window: the states at the ends of its steps after each of the layers.

    `weights` is the hash of the model's weights, which tells kept results apart.
    """
    import torch
    from transformers import DynamicCache

    backbone = load_causal(model, dtype=dtype).base_model
    check_layers(backbone, layers)
    order = sorted(range(len(windows)), key=lambda place: windows[place][0])
    parts = _new_parts([windows[place][0] for place in order])
    tokens = sum(len(windows[place][0]) - start for place, start in zip(order, parts, strict=True))
    total = sum(len(ids) for ids, _ in windows)
    print(
        f"{tokens} of {total} tokens go through the model, the rest begins as another does: about "
        f"{tokens / SPEED[dtype] / 60:.0f} minutes for one core and 135M parameters",
        flush=True,
    )
    found: list[Any] = [None] * len(windows)
    cache = DynamicCache(config=backbone.config)
    states = torch.zeros(0, len(layers) * backbone.config.hidden_size)
    with torch.inference_mode():
        for place, start in zip(
            progress.track(order, len(order), "states of steps"), parts, strict=True
        ):
            ids, ends = windows[place]
            if len(states) > start:
                cache.crop(start - len(states))
            new = backbone(
                input_ids=torch.tensor([ids[start:]]),
                past_key_values=cache,
                output_hidden_states=True,
            )
            own = torch.cat([new.hidden_states[layer][0] for layer in layers], dim=1).float()
            states = torch.cat([states[:start], own])  # (len(ids), layers * width)
            found[place] = states[list(ends)].numpy()
    return found


def _new_parts(sequences: Sequence[Sequence[int]]) -> list[int]:
    """How many tokens each sequence has in common with the one before it; its last token is always new."""
    pairs = zip([(), *sequences[:-1]], sequences, strict=True)
    return [min(_common(before, own), len(own) - 1) for before, own in pairs]


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
