"""The settings of PPO's optimisation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.stage.params import FORBID


@dataclass(frozen=True, config=FORBID, kw_only=True)
class PpoSettings:
    """How the policy and the critic learn from a batch of sampled answers."""

    learning_rate: Annotated[float, Field(gt=0)]
    """Peak learning rate of the policy (AdamW, linear decay)."""
    critic_learning_rate: Annotated[float, Field(gt=0)]
    """Peak learning rate of the critic, with the same schedule."""
    steps: Annotated[int, Field(ge=1)]
    """Batches of answers. Each batch is sampled from the current policy."""
    epochs: Annotated[int, Field(ge=1)] = 2
    """Passes over each batch of answers."""
    minibatches: Annotated[int, Field(ge=1)] = 2
    """Optimiser steps per pass; each uses an equal part of the answers."""
    clip: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """The probability ratio of a token earns nothing beyond 1 - clip and 1 + clip."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Discount per token."""
    gae_lambda: Annotated[float, Field(ge=0, le=1)] = 1.0
    """1: a token's advantage is the reward to come, less the critic's value. Smaller values replace
    rewards with later values, so they need a critic that fits."""
    beta: Annotated[float, Field(ge=0)] = 0.02
    """Weight of the KL divergence from the SFT model; with 0, no reference model is loaded."""
    warmup_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of the optimiser steps used for learning-rate warm-up."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients of the policy, and of the critic, with a larger norm are scaled down to it."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 20
    """Steps between checkpoints."""

    @property
    def updates(self) -> int:
        """Optimiser steps per batch of answers."""
        return self.epochs * self.minibatches

    def rate(self, update: int) -> float:
        """Factor of the learning rates at an optimiser step: linear warm-up, linear decay.

        Examples:
            >>> settings = PpoSettings(
            ...     learning_rate=1.0, critic_learning_rate=1.0, steps=2, warmup_share=0.25
            ... )
            >>> [settings.rate(update) for update in range(5)]
            [0.5, 1.0, 1.0, 0.8333333333333334, 0.6666666666666666]
        """
        total = self.steps * self.updates
        warmup = round(self.warmup_share * total)
        return min(1.0, (update + 1) / max(1, warmup), (total - update) / max(1, total - warmup))
