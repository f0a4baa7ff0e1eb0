"""Conflicts between the heads of one model: cosines between the gradients of their losses.

If a cosine is negative, a step that improves one objective makes the other worse (Yu et al. 2020,
arXiv 2001.06782). Only gradients on the last shared layer are compared (as in Chen et al. 2018,
arXiv 1711.02257), because they fit into memory next to a large model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from concord.lm.batches import pad_sequences

Sides = tuple[Sequence[list[int]], Sequence[list[int]]]
"""Token ids of the chosen and of the rejected responses, n sequences each."""
BATCH = 16
"""Pairs per forward pass."""


def cosines(model: Any, pairs: Mapping[str, Sides], pad: int) -> dict[str, dict[str, float]]:
    """Cosines between the gradients of the mean Bradley-Terry losses of all objectives.

    The gradients are those on the last layer of the backbone. Stored gradients and frozen
    parameters of the model are not changed.

    Args:
        model: a sequence classifier with one head per objective, in the order of `pairs`.
        pairs: objective -> its pairs. Objectives without pairs are left out.
        pad: id of the padding token.

    Returns objective -> other objective -> cosine.
    """
    layers = next(
        part for part in model.base_model.modules() if isinstance(part, torch.nn.ModuleList)
    )
    shared = list(layers[-1].parameters())
    frozen = [value for value in shared if not value.requires_grad]
    for value in frozen:
        value.requires_grad_(True)
    gradients = {
        name: _gradient(model, head, *sides, shared, pad)
        for head, (name, sides) in enumerate(pairs.items())
        if sides[0]
    }
    for value in frozen:
        value.requires_grad_(False)
    return {
        name: {
            other: torch.nn.functional.cosine_similarity(gradient, other_gradient, dim=0).item()
            for other, other_gradient in gradients.items()
            if other != name
        }
        for name, gradient in gradients.items()
    }


def _gradient(
    model: Any,
    head: int,
    chosen: Sequence[list[int]],
    rejected: Sequence[list[int]],
    shared: list[torch.nn.Parameter],
    pad: int,
) -> torch.Tensor:
    """Gradient of the mean loss of one head, flattened to `(parameters,)`, float32."""
    total = torch.zeros(sum(value.numel() for value in shared), device=model.device)
    for start in range(0, len(chosen), BATCH):
        won = _scores(model, chosen[start : start + BATCH], head, pad)
        lost = _scores(model, rejected[start : start + BATCH], head, pad)
        loss = -torch.nn.functional.logsigmoid(won.float() - lost.float()).sum()
        parts = torch.autograd.grad(loss, shared, allow_unused=True, materialize_grads=True)
        total += torch.cat([part.flatten().float() for part in parts])
    return total / len(chosen)


def _scores(model: Any, sequences: Sequence[list[int]], head: int, pad: int) -> torch.Tensor:
    """Scores `(batch,)` of one head."""
    batch = pad_sequences(sequences, pad)
    inputs = {name: value.to(model.device) for name, value in batch.items()}
    scores: torch.Tensor = model(**inputs).logits[:, head]
    return scores
