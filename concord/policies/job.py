"""What a policy method is asked to do, and where its inputs and outputs are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from concord.objectives import Objective
from concord.stage import outputs, paths
from concord.stage.params import Runtime, Seeds
from concord.stage.paths import SFT

ROLLOUTS = paths.ROLLOUTS / "train.parquet"
ANNOTATED = paths.PREPARED / "pairs/train.parquet"


def no_problems(params: Any, vector: Sequence[str]) -> Iterator[str]:
    """What a method without further demands says of its parameters: nothing."""
    return iter(())


@dataclass(frozen=True)
class Method:
    """What a method of `concord/policies/methods` can do and what it needs, for `check` and the docs."""

    params: type
    """The dataclass of its section in params.yaml."""
    heads: bool
    """Whether the policy has an action head per objective, so that weights act at inference."""
    pairs: bool
    """Whether it learns from preference pairs."""
    problems: Callable[[Any, Sequence[str]], Iterator[str]] = no_problems
    """(params, names of the objectives in the vector) -> `key: what cannot work` for what the dataclass cannot see."""


@dataclass(frozen=True)
class PolicyJob:
    """One policy: its name, its method's parameters, and the settings that all stages share."""

    name: str
    params: Any
    objectives: dict[str, Objective]
    runtime: Runtime
    seeds: Seeds
    max_length: int

    @property
    def where(self) -> str:
        """The path of its section in params.yaml."""
        return f"policies.{self.name}"

    @property
    def folder(self) -> Path:
        """Where the policy goes."""
        return paths.POLICIES / self.name

    @property
    def curve(self) -> Path:
        """Where its training curve goes."""
        return paths.CURVES / f"policy_{self.name}.csv"

    @property
    def vector(self) -> list[str]:
        """The objectives of the reward vector by name, so that their order in params.yaml changes nothing."""
        return sorted(name for name, objective in self.objectives.items() if objective.in_vector)


def save(model: Any, job: PolicyJob) -> None:
    """Writes the policy and the SFT model's tokenizer."""
    from concord.lm.load import load_tokenizer

    with outputs.directory(job.folder) as folder:
        model.save_pretrained(folder)
        load_tokenizer(SFT).save_pretrained(folder)
