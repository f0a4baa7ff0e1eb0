"""The gradient of each objective on shared parameters, and how these gradients relate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

COSINE = "cosine"
"""Prefix of the metrics with the cosine between the gradients of two objectives."""
INFLUENCE = "influence"
"""Prefix of the metrics with the influence of an objective."""


class ObjectiveGradients:
    """Sums a gradient per objective over the micro-batches of a step.

    It holds one float32 vector of the size of the parameters per objective.

    Args:
        parameters: the shared parameters.
    """

    def __init__(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.sums: dict[str, Tensor] = {}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Adds the gradient of each objective's loss. The `.grad` of parameters is not changed."""
        import torch

        for name, loss in losses.items():
            gradients = torch.autograd.grad(loss, self.parameters, retain_graph=True)
            flat = torch.cat([gradient.flatten().float() for gradient in gradients])
            self.sums[name] = self.sums[name] + flat if name in self.sums else flat

    def take(self) -> dict[str, Tensor]:
        """Objective -> its gradient in the step, `(parameters,)`; then starts the next step.

        Objectives without a gradient are left out.
        """
        sums, self.sums = self.sums, {}
        return {name: sums[name] for name in sorted(sums) if sums[name].any()}


def cosines(gradients: Mapping[str, Tensor]) -> dict[str, float]:
    """Metric `cosine.<one>.<other>` -> cosine between the gradients of two objectives.

    It is 1 if two objectives want the same change, 0 if they are independent, and -1 if they want
    opposite changes.
    """
    directions = {name: vector / vector.norm() for name, vector in gradients.items()}
    return {
        f"{COSINE}.{one}.{other}": float(directions[one] @ directions[other])
        for one, other in combinations(directions, 2)
    }


def influences(gradients: Mapping[str, Tensor]) -> dict[str, float]:
    """Objective -> how much a step along its gradient helps all objectives, to first order.

    The influence of objective i is <g_i, sum_j g_j> (Lu et al., arXiv 2509.11452). It is divided by
    the mean of |g_j|^2, so that it does not depend on the scale of the loss: 1 for each objective
    if all gradients are orthogonal and of the same size, 0 for two that are opposed.
    """
    if not gradients:
        return {}
    total = sum(gradients.values())
    scale = sum(float(vector @ vector) for vector in gradients.values()) / len(gradients)
    return {name: float(vector @ total) / scale for name, vector in gradients.items()}
