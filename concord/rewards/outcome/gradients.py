"""Where the heads of one model pull its backbone: cosines between the gradients of their losses.

Below zero, a step that fits one objective unfits the other (Yu et al. 2020, arXiv 2001.06782). Gradients are those on
the last layer that all heads share (Chen et al. 2018, arXiv 1711.02257), which fit beside a large model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from concord.lm.batches import pad_sequences

Sides = tuple[Sequence[list[int]], Sequence[list[int]]]
"""Ids of chosen and of rejected answers, `[n]` each."""
BATCH = 16


def cosines(model: Any, pairs: Mapping[str, Sides], pad: int) -> dict[str, dict[str, float]]:
    """objective -> other objective -> cosine of the gradients of their mean Bradley-Terry losses on the
    last layer of the backbone.

    `model` is a sequence classifier with a head per objective, in the order of `pairs`. Objectives without pairs are
    left out. Gradients that the parameters hold stay as they are, and so do frozen parameters.
    """
    layers = next(
        part for part in model.base_model.modules() if isinstance(part, torch.nn.ModuleList)
    )
    shared = list(layers[-1].parameters())
    frozen = [value for value in shared if not value.requires_grad]
    for value in frozen:
        value.requires_grad_(True)
    found = {
        name: _gradient(model, head, *sides, shared, pad)
        for head, (name, sides) in enumerate(pairs.items())
        if sides[0]
    }
    for value in frozen:
        value.requires_grad_(False)
    return {
        name: {
            other: torch.nn.functional.cosine_similarity(own, each, dim=0).item()
            for other, each in found.items()
            if other != name
        }
        for name, own in found.items()
    }


def _gradient(
    model: Any,
    head: int,
    chosen: Sequence[list[int]],
    rejected: Sequence[list[int]],
    shared: list[Any],
    pad: int,
) -> torch.Tensor:
    """One vector `[parameters]`, summed in float32."""
    total = torch.zeros(sum(value.numel() for value in shared), device=model.device)
    for start in range(0, len(chosen), BATCH):
        parts = [side[start : start + BATCH] for side in (chosen, rejected)]
        scores = [
            model(
                **{name: value.to(model.device) for name, value in pad_sequences(part, pad).items()}
            ).logits[:, head]
            for part in parts
        ]
        loss = -torch.nn.functional.logsigmoid(scores[0].float() - scores[1].float()).sum()
        found = torch.autograd.grad(loss, shared, allow_unused=True, materialize_grads=True)
        total += torch.cat([gradient.flatten().float() for gradient in found])
    return total / len(chosen)
