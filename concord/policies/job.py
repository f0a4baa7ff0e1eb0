"""The interface of policy methods: `Method` describes a method, `PolicyJob` one policy to train."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from concord.lm.load import load_tokenizer
from concord.objectives import Objective
from concord.stage import outputs, paths
from concord.stage.params import Runtime, Seeds
from concord.stage.paths import SFT

ROLLOUTS = paths.ROLLOUTS / "train.parquet"
ANNOTATED = paths.PREPARED / "pairs/train.parquet"
RATED = paths.PREPARED / "ratings/train.parquet"


def no_problems(params: Any, vector: Mapping[str, Objective]) -> Iterator[str]:
    """The check of a method whose dataclass validates all of its parameters: yields nothing."""
    return iter(())


def reads_rewards(params: Any) -> bool:
    """Whether training reads rollouts, anchors or reward models: not if all pairs are people's."""
    pairs, rounds = getattr(params, "pairs", None), getattr(params, "rounds", None)
    return pairs not in ("annotations", "ratings") or rounds is not None


def reads_nothing(params: Any) -> bool:
    """The `rewards` of a method that does not train."""
    return False


@dataclass(frozen=True)
class Method:
    """What a method of `concord/policies/methods` needs and supports."""

    params: type
    """The dataclass of the method's section in params.yaml."""
    heads: bool
    """Whether the weights of the objectives can be changed at inference, by action heads or in
    another way."""
    pairs: bool
    """Whether the method trains on preference pairs."""
    stock: bool = True
    """Whether the policy at given weights is a stock checkpoint, so that it can be published."""
    rewards: Callable[[Any], bool] = reads_rewards
    """Whether training with these parameters reads rollouts, anchors or reward models. If no policy
    does, a recipe that leaves out their sections does not compute them."""
    problems: Callable[[Any, Mapping[str, Objective]], Iterator[str]] = no_problems
    """Maps the parameters and the objectives of the reward vector to messages `key: problem`. For
    checks that the dataclass cannot do, because it does not know the objectives."""


@dataclass(frozen=True)
class PolicyJob:
    """One policy to train: its name, the parameters of its method, and the shared settings."""

    name: str
    params: Any
    """An instance of `Method.params`."""
    objectives: dict[str, Objective]
    """All objectives by name."""
    runtime: Runtime
    seeds: Seeds
    max_length: int
    """Longest sequence in tokens, prompt and response together."""

    @property
    def stage(self) -> str:
        """DVC's name of the stage that trains the policy."""
        return f"policy@{self.name}"

    @property
    def where(self) -> str:
        """The path of the policy's section in params.yaml."""
        return f"policies.{self.name}"

    @property
    def folder(self) -> Path:
        """The output folder of the policy."""
        return paths.POLICIES / self.name

    @property
    def curve(self) -> Path:
        """The output file of the training curve."""
        return paths.CURVES / f"policy_{self.name}.csv"

    @property
    def vector(self) -> list[str]:
        """The objectives of the reward vector, sorted by name.

        The order of the objectives in params.yaml therefore does not matter.
        """
        return sorted(name for name, objective in self.objectives.items() if objective.in_vector)


def save(model: Any, job: PolicyJob) -> None:
    """Writes the policy and the SFT model's tokenizer to `job.folder`."""

    with outputs.directory(job.folder) as folder:
        model.save_pretrained(folder)
        load_tokenizer(SFT).save_pretrained(folder)
