"""Settings that all methods with online sampling share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.lm.lora import Lora
from concord.objectives import Objective, domain_weights
from concord.policies.moving_weights import GradientGuided, Lagrangian, MovingWeights, Schedule
from concord.policies.step_rewards import Form
from concord.stage import plugins
from concord.stage.errors import ParamsError
from concord.stage.params import FORBID, suggest

SEPARATE = "normalize_then_sum"
"""The aggregation that normalises each reward on its own, before they are combined."""
LINEAR = "weighted_sum"
"""The scalariser that this aggregation can use."""


@dataclass(frozen=True, config=FORBID, kw_only=True)
class OnlineParams:
    """Settings of sampling, advantages and optimisation."""

    aggregation: Annotated[str, plugins.named("concord.policies.advantages")] = "sum_then_normalize"
    """How rewards become advantages: a function of concord/policies/advantages.py."""
    scalariser: Annotated[str, plugins.named("concord.rewards.vector.scalarisers")] = LINEAR
    """How the anchored rewards of an answer become one number: a function of
    concord/rewards/vector/scalarisers.py. `normalize_then_sum` needs `weighted_sum`."""
    scalariser_parameters: dict[str, float] = Field(default_factory=dict)
    """Values for the scalariser's arguments that have a default."""
    normalize_over_batch: bool = False
    """Whether advantages are also normalised over all samples of a step: the last step of GDPO
    (arXiv 2601.05242)."""
    conflict_threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    """Leaves out samples whose rewards disagree, as in GD2PO (arXiv 2606.16771): those with
    |sum_i w_i A_i| < threshold * sum_i w_i |A_i|, where A_i is the normalised reward i. 1 leaves
    out every sample with both signs. The other samples of the prompt are scaled by the share that
    is left. null: no sample is left out."""
    process_rewards: dict[str, Form] = Field(default_factory=dict)
    """Objective -> what its steps earn, `mean` or `difference` (concord/policies/step_rewards.py).
    These objectives are scored by the process reward model instead of their verifier or reward
    model."""
    step_advantages: bool = False
    """Whether each step has its own advantage from process rewards, as in DeepSeekMath (arXiv
    2402.03300, section 4.1.3); needs `normalize_then_sum`. Otherwise a sample has one."""
    mask_truncated: bool = False
    """Whether samples without an end of sequence are left out of the loss. Their rewards still
    count in the mean of the group."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    """Peak learning rate (AdamW, linear decay)."""
    steps: Annotated[int, Field(ge=1)] = 40
    """Optimiser steps, each on new samples."""
    prompts_per_step: Annotated[int, Field(ge=1)] = 6
    """Prompts per step, balanced over domains."""
    generations: Annotated[int, Field(ge=2)] = 8
    """Samples per prompt."""
    micro_prompts: Annotated[int, Field(ge=1)] | None = None
    """Prompts per micro-batch, a divisor of `prompts_per_step`; null: all prompts of a step. TRL
    divides the loss by the number of tokens in a micro-batch. With 1, all prompts have the same
    weight; with more, prompts with longer answers have more weight. `rloo` divides by the number
    of samples."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 96
    """Longest sample, in tokens."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Sampling temperature."""
    beta: Annotated[float, Field(ge=0)] = 0.02
    """Weight of the KL divergence from the SFT model; with 0, no reference model is loaded."""
    warmup_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of the steps used for learning-rate warm-up."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients with a larger norm are scaled down to it."""
    lora: Lora | None = None
    """Trains low-rank adapters instead of all weights; merged after training."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 20
    """Steps between checkpoints."""
    cosines_every: Annotated[int, Field(ge=1)] | None = None
    """Steps between measurements of gradient conflict: the cosines between the policy gradients of
    the objectives, on the parameters that all objectives share, and the influence of each objective
    (`concord.policies.objective_gradients`). A measurement takes a backward pass and the memory of
    a gradient per objective. null: not measured."""

    def __post_init__(self) -> None:
        if self.prompts_per_step % self.micro:
            raise ValueError(
                f"`micro_prompts` {self.micro} does not divide `prompts_per_step` "
                f"{self.prompts_per_step}; give a divisor"
            )
        allowed = plugins.defaults("concord.rewards.vector.scalarisers", self.scalariser)
        for name in self.scalariser_parameters:
            if name not in allowed:
                raise ValueError(
                    f"scalariser_parameters.{name} is unknown; {suggest(name, list(allowed))}"
                )
        if self.scalariser != LINEAR and self.aggregation == SEPARATE:
            raise ValueError(
                f"`{SEPARATE}` normalises each reward before they are combined, and the scalariser "
                f"{self.scalariser!r} needs rewards in anchored units; use `sum_then_normalize`, "
                "which scalarises first"
            )
        if self.normalize_over_batch and self.micro != self.prompts_per_step:
            raise ValueError(
                f"`normalize_over_batch` needs all samples of a step, and a micro-batch has "
                f"{self.micro} of {self.prompts_per_step} prompts; remove `micro_prompts`"
            )
        if self.conflict_threshold is not None and self.aggregation != SEPARATE:
            raise ValueError(
                "`conflict_threshold` compares the normalised rewards of a sample, and "
                f"{self.aggregation!r} does not normalise each reward; use `{SEPARATE}`"
            )

        if self.step_advantages:
            self._check_step_advantages()

    def _check_step_advantages(self) -> None:
        if not self.process_rewards:
            raise ValueError(
                "`step_advantages` needs rewards of steps, and no objective has them; "
                "add `process_rewards`"
            )
        if self.aggregation != SEPARATE:
            raise ValueError(
                "`step_advantages` adds advantages of steps to those of samples, and "
                f"{self.aggregation!r} does not normalise each reward; use `{SEPARATE}`"
            )
        if self.normalize_over_batch or self.conflict_threshold is not None:
            raise ValueError(
                "`normalize_over_batch` and `conflict_threshold` change the advantages of whole "
                "samples, so they cannot be used with `step_advantages`; remove them"
            )

    @property
    def micro(self) -> int:
        """Prompts per micro-batch."""
        return self.micro_prompts or self.prompts_per_step


@dataclass(frozen=True, config=FORBID, kw_only=True)
class OneHeadParams(OnlineParams):
    """Settings of the methods that train a policy for one weight vector at a time."""

    weights: dict[str, float]
    """Weight of each objective's anchored reward, normalised to sum to 1 within a domain. Missing
    objectives get weight 0."""
    moving_weights: MovingWeights | None = None
    """How the weights move during training, starting at `weights`; null: they stay."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.moving_weights, GradientGuided) and self.cosines_every is None:
            raise ValueError(
                "the rule `gradient` moves the weights after steps in which gradients are "
                "measured, and none is; set `cosines_every: 1` to measure in every step"
            )
        if not isinstance(self.moving_weights, Lagrangian):
            return
        if self.aggregation == "sum_then_normalize":
            raise ValueError(
                "with `sum_then_normalize`, a multiplier acts as if it were multiplied by the "
                "spread of its reward and divided by the spread of the sum (arXiv 2602.05863), so "
                f"`lagrangian` does not enforce its limits; use `{SEPARATE}`"
            )
        if self.scalariser != LINEAR:
            raise ValueError(
                f"a multiplier adds to the weight of a sum, and the scalariser is "
                f"{self.scalariser!r}; use `{LINEAR}` with `lagrangian`"
            )


def weight_problems(params: OneHeadParams, vector: Mapping[str, Objective]) -> Iterator[str]:
    """Objectives of `moving_weights` that are unknown, and domains that it gives no weight."""
    rule = params.moving_weights
    if isinstance(rule, Lagrangian):
        for name in rule.at_least:
            if name not in vector:
                yield (
                    f"moving_weights.at_least.{name} is a limit for an unknown objective; "
                    f"{suggest(name, list(vector))}"
                )
    if isinstance(rule, Schedule):
        for index, point in enumerate(rule.points):
            where = f"moving_weights.points.{index}.weights"
            for domain in dict.fromkeys(objective.domain for objective in vector.values()):
                try:
                    domain_weights(point.weights, vector, domain, where)
                except ParamsError as error:
                    yield str(error)
