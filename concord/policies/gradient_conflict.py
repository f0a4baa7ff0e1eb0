"""Conflict between the objectives on the backbone that all heads share: measured and resolved.

The loss of a step is L = sum_i L_i. L_i has the pairs that head i learns from, each by the weight
of head i in its mix. With g_i the gradient of L_i on the backbone, plain training takes a step
along sum_i g_i, which can raise the loss of some objectives. An aggregator chooses weights with

    d = sum_i w_i g_i,  where <d, g_i> >= 0 for all i,

so that no L_i rises to first order. torchjd has the aggregators (Jacobian descent, Quinton and Rey,
arXiv 2406.16232). Each head still learns from the plain gradient of its own pairs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from concord.policies.objective_gradients import ObjectiveGradients, cosines
from concord.stage.errors import ParamsError

if TYPE_CHECKING:
    from torch import Tensor

Aggregator = Literal["upgrad", "mgda"]
WEIGHT = "gradient_weight"
"""Prefix of the metrics with the weight of an objective's gradient."""


class GradientConflict:
    """Follows the gradients on the backbone through a training, micro-batch by micro-batch.

    Args:
        aggregator: what combines the gradients of the objectives; None: their sum.
        every: steps between measurements; an aggregator needs 1.
        micro_batches: forward passes per step.

    Raises:
        ParamsError: the training runs in several processes, which would each see only a part of
            the gradients.
    """

    def __init__(self, aggregator: Aggregator | None, every: int, micro_batches: int) -> None:
        if (processes := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
            raise ParamsError(
                f"`conflict` and `cosines_every` need all gradients of a step in one process, and "
                f"this training has {processes}; start one process, or remove them"
            )
        self.aggregator, self.every, self.micro_batches = aggregator, every, micro_batches
        self.seen = 0
        """Micro-batches until now."""
        self.gradients: ObjectiveGradients | None = None

    def resume_at(self, step: int) -> None:
        """Starts at a step of a training that was interrupted."""
        self.seen = step * self.micro_batches

    def restart(self, step: int, micro_batches: int) -> None:
        """Starts a step again; from now on, steps have `micro_batches` forward passes."""
        self.micro_batches, self.gradients = micro_batches, None
        self.resume_at(step)

    def __call__(self, model: Any, losses: Mapping[str, Tensor]) -> tuple[Any, dict[str, float]]:
        """What to add to the loss of a micro-batch, and metrics.

        The addend has the value 0. In the last micro-batch of a step, its gradient on the backbone
        turns the sum of the objectives' gradients into the aggregate. Only this micro-batch has
        metrics.

        Args:
            model: a `MultiHeadCausalLM`.
            losses: objective -> its loss in the micro-batch; their sum is the whole loss.
        """
        step, position = divmod(self.seen, self.micro_batches)
        self.seen += 1
        if step % self.every:
            return 0.0, {}
        if self.gradients is None:
            self.gradients = ObjectiveGradients(model.shared_parameters())
        self.gradients.add(losses)
        if position + 1 < self.micro_batches:
            return 0.0, {}
        gradients = self.gradients.take()
        metrics = cosines(gradients)
        if self.aggregator is None or not gradients:
            return 0.0, metrics
        weights = gradient_weights(self.aggregator, list(gradients.values()))
        change = sum(
            (weight - 1) * gradient
            for weight, gradient in zip(weights.tolist(), gradients.values(), strict=True)
        )
        metrics |= {
            f"{WEIGHT}.{name}": weight
            for name, weight in zip(gradients, weights.tolist(), strict=True)
        }
        return _linear(self.gradients.parameters, change), metrics


def gradient_weights(aggregator: Aggregator, gradients: Sequence[Tensor]) -> Tensor:
    """The weights `(objectives,)` of the gradients `(parameters,)` in their aggregate, float64.

    UPGrad projects each gradient onto the directions that raise no loss, and sums the projections:
    without conflict, all weights are 1. MGDA takes the shortest convex combination. Its weights are
    scaled to the sum that weights of 1 have, because heads and backbone are clipped together.
    """
    import torch
    from torchjd.aggregation import MGDAWeighting, UPGradWeighting

    from concord.policies.dual_cone import LeastSquaresProjector

    count = len(gradients)
    gramian = torch.stack([torch.stack([one @ other for other in gradients]) for one in gradients])
    gramian = gramian.double().cpu()
    if aggregator == "mgda":
        # With the defaults, losses can still rise by some per cent of the plain step's change.
        weights: Tensor = MGDAWeighting(epsilon=1e-6, max_iters=1000)(gramian) * count
        return weights
    ones = torch.ones(count, dtype=torch.float64)
    weights = UPGradWeighting(ones, projector=LeastSquaresProjector())(gramian)
    return weights


def _linear(parameters: Sequence[Any], gradient: Any) -> Any:
    """A term with the value 0 and the given gradient, `(parameters,)`."""
    parts = gradient.split([parameter.numel() for parameter in parameters])
    return sum(
        (part.view_as(parameter) * (parameter - parameter.detach())).sum()
        for part, parameter in zip(parts, parameters, strict=True)
    )
