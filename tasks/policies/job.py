"""What a policy method is asked to do, and where its inputs and outputs are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.stage import outputs
from tasks.stage.params import Objective, Runtime, Seeds

SFT = Path("models/sft")
ROLLOUTS = Path("data/rollouts/train.parquet")
ANNOTATED = Path("data/prepared/pairs/train.parquet")
ANCHORS = Path("models/anchors.json")
REWARDS = Path("models/rewards")


@dataclass(frozen=True)
class Job:
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
        return Path("models/policies") / self.name

    @property
    def curve(self) -> Path:
        """Where its training curve goes."""
        return Path(f"reports/curves/policy_{self.name}.csv")

    @property
    def vector(self) -> list[str]:
        """The objectives of the reward vector by name, so that their order in params.yaml changes nothing."""
        return sorted(name for name, objective in self.objectives.items() if objective.in_vector)


def save(model: Any, job: Job) -> None:
    """Writes the policy and the SFT model's tokenizer."""
    from tasks.stage.models import load_tokenizer

    with outputs.directory(job.folder) as folder:
        model.save_pretrained(folder)
        load_tokenizer(SFT).save_pretrained(folder)
