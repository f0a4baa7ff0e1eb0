"""Opens the folder of any trained reward model: of answers or of steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from concord.rewards.outcome import reward_model as outcome
from concord.stage.errors import ModelError
from concord.stage.outputs import read_json
from concord.stage.params import suggest
from concord.stage.paths import PROCESS_REWARD, REWARDS

ANSWERS, STEPS = "SequenceClassification", "TokenClassification"


@dataclass(frozen=True)
class TrainedModel:
    """A reward model and what it scores."""

    path: Path
    model: Any
    """A `RewardModel`, or a `ProcessRewardModel` if `scores_steps`."""
    scores_steps: bool

    @property
    def objectives(self) -> list[str]:
        """The objectives of its heads."""
        return cast(list[str], self.model.objectives)

    def head(self, objective: str) -> int:
        """The index of the head of an objective. Raises ModelError if there is none."""
        if objective not in self.objectives:
            raise ModelError(
                f"{self.path} has no head for {objective!r}; {suggest(objective, self.objectives)}"
            )
        return self.objectives.index(objective)


def open_model(path: Path, device: Any = "cpu", dtype: str = "float32") -> TrainedModel:
    """Opens a reward model. Raises ModelError if the folder holds none."""
    if not path.is_dir():
        raise ModelError(f"there is no folder {path}; {trained()}")
    if (path / "probe.json").is_file():
        steps = "pooling" not in read_json(path / "probe.json")  # steps are read at their ends
        return _loaded(path, device, dtype, steps)
    if not (path / "config.json").is_file():
        raise ModelError(f"{path} holds no model: it has no config.json; {trained()}")
    (*_, architecture) = read_json(path / "config.json").get("architectures") or [""]
    if ANSWERS in architecture or STEPS in architecture:
        return _loaded(path, device, dtype, STEPS in architecture)
    raise ModelError(
        f"{path} holds {architecture or 'a model of unknown architecture'}, which has no heads "
        f"that score objectives; {trained()}"
    )


def _loaded(path: Path, device: Any, dtype: str, steps: bool) -> TrainedModel:
    from concord.rewards.process import process_model

    load = process_model.load if steps else outcome.load
    return TrainedModel(path, load(path, device, dtype), steps)


def trained() -> str:
    """Where the reward models of this project are, in words."""
    folders = [*sorted(REWARDS.glob("*/")), PROCESS_REWARD]
    names = [str(folder) for folder in folders if folder.is_dir()]
    return f"trained here: {', '.join(names) or 'none yet, run `dvc repro`'}"
