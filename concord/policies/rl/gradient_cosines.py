"""How far the objectives of a policy pull its shared parameters in the same direction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor

from concord.policies.rl.online_curve import COSINE


class GradientCosines:
    """Sums a gradient per objective over the micro-batches of a step, and compares them.

    It holds one vector of the size of the parameters per objective.

    Args:
        parameters: the shared parameters.
    """

    def __init__(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.sums: dict[str, Tensor] = {}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Adds the gradient of each objective's loss. The `.grad` of parameters is not changed."""
        for name, loss in losses.items():
            gradients = torch.autograd.grad(loss, self.parameters, retain_graph=True)
            flat = torch.cat([gradient.flatten().float() for gradient in gradients])
            self.sums[name] = self.sums[name] + flat if name in self.sums else flat

    def read(self) -> Iterator[tuple[str, float]]:
        """Yields the metrics of the step, and starts the next one.

        The cosine is 1 if two objectives want the same change, 0 if they are independent, and -1 if
        they want opposite changes. Objectives without a gradient are left out.
        """
        directions = {
            name: vector / vector.norm() for name, vector in self.sums.items() if vector.norm() > 0
        }
        self.sums = {}
        for one, other in combinations(sorted(directions), 2):
            yield f"{COSINE}.{one}.{other}", float(directions[one] @ directions[other])
