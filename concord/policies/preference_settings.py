"""The parameters that all methods share that train on preference pairs, and their checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, Protocol

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.lm.lora import Lora
from concord.lm.train import Training
from concord.objectives import check_weights
from concord.stage import plugins
from concord.stage.params import FORBID, suggest


@dataclass(frozen=True, config=FORBID, kw_only=True)
class HeadAdapters:
    """A low-rank adapter per head on every linear layer of the backbone."""

    rank: Annotated[int, Field(ge=1)] = 8
    """Rank of each update."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    """Peak learning rate of the adapters."""


@dataclass(frozen=True, config=FORBID, kw_only=True)
class PreferenceParams:
    """The parameters of all methods that train on preference pairs."""

    training: Training = Training(learning_rate=1e-4, steps=75, batch_size=42, micro_batch=7)
    """Optimisation settings; `batch_size` counts pairs."""
    pairs: Literal["rollouts", "annotations", "both", "ratings"] = "rollouts"
    """Source of the pairs: best and worst samples of the rollouts, human comparisons, or both; or
    best and worst of the answers to a prompt that people rated."""
    min_gap: Annotated[float, Field(ge=0)] = 0.5
    """Smallest difference of a rollout pair, in standard deviations of the reward, or of the
    weighted sum, that chooses it, under the SFT model."""
    pairs_per_prompt: Annotated[int, Field(ge=1)] = 1
    """Largest number of pairs of a prompt and a score: the best and the worst of the K samples,
    then the second best and the second worst, and so on, as long as they differ by `min_gap`."""
    beta: Annotated[float, Field(gt=0)] = 0.1
    """Strength of the regularisation towards the reference model."""
    loss: Annotated[str, plugins.named("concord.policies.losses")] = "dpo"
    """A function of concord/policies/losses.py."""
    loss_parameters: dict[str, float] = Field(default_factory=dict)
    """Values for the loss function's arguments that have a default."""
    alpha: dict[str, float] = Field(default_factory=dict)
    """Weight of each objective's loss, normalised to sum to 1. Missing objectives get weight 0; all
    objectives are weighted equally if none is given."""
    head_rank: Annotated[int, Field(ge=1)] | None = None
    """Rank of the difference between a head and the SFT model's output matrix; null: full rank."""
    head_learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate of the heads; null: the learning rate of `training`. A higher value leaves
    less to the shared backbone, so the weights have more effect at inference."""
    head_adapters: HeadAdapters | None = None
    """Gives each head an adapter on every linear layer, beside its output matrix; null: none."""
    heads_only: bool = False
    """Whether to freeze the backbone, apart from the adapters of the heads."""
    lora: Lora | None = None
    """Trains low-rank adapters instead of the backbone's weights; merged after training."""

    def __post_init__(self) -> None:
        allowed = plugins.defaults("concord.policies.losses", self.loss)
        for name in self.loss_parameters:
            if name not in allowed:
                raise ValueError(
                    f"loss_parameters.{name} is unknown; {suggest(name, list(allowed))}"
                )
        if self.heads_only and self.lora is not None:
            raise ValueError(
                "`heads_only` freezes the backbone and `lora` trains it; give only one of them"
            )


def loss_weights(alpha: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """The loss weight of each objective in `names`, normalised to sum to 1.

    All weights are equal if `alpha` is empty. Raises ParamsError if `alpha` names an objective that
    is not in `names`.

    Examples:
        >>> loss_weights({"helpful": 3.0, "honest": 1.0}, ["helpful", "honest"])
        {'helpful': 0.75, 'honest': 0.25}
        >>> loss_weights({}, ["helpful", "honest"])
        {'helpful': 0.5, 'honest': 0.5}
    """
    check_weights(alpha, dict.fromkeys(names), "alpha")
    given = {name: alpha.get(name, 0.0) if alpha else 1.0 for name in names}
    return {name: value / sum(given.values()) for name, value in given.items()}


def trained_objectives(params: PreferenceParams, vector: Sequence[str]) -> list[str]:
    """The objectives of the reward vector with a positive loss weight."""
    return [name for name in vector if not params.alpha or params.alpha.get(name, 0.0) > 0]


class Trained(Protocol):
    """The parameters of a method that trains on batches."""

    @property
    def training(self) -> Training:
        """Optimisation settings."""
        ...


def batch_size_problems(
    params: Trained, groups: Sequence[str], needed: int | None = None
) -> Iterator[str]:
    """Yields a message if a batch cannot hold one row of each of `groups`.

    `needed` is the smallest batch that can; by default, the number of groups.
    """
    needed = len(groups) if needed is None else needed
    if (size := params.training.batch_size) < needed:
        yield (
            f"training.batch_size: a batch of {size} rows cannot hold one row of each of "
            f"{len(groups)} groups ({', '.join(groups)}); raise it to {needed} or more"
        )
