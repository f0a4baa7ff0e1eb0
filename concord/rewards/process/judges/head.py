"""The head of a reward model as a judge, for one fitted to the labels of other people.

evaluate:
  judge:
    judges:
      warm: {kind: head, model: others, objective: warm}

`model` is an entry of `reward_models`. A verdict is sigmoid((score - mean) / std) of the head's
score; mean and standard deviation are those of the answers that it judges first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic.dataclasses import dataclass

from concord.lm.chat import Messages
from concord.rewards.outcome.reward_model import RewardModel
from concord.rewards.outcome.reward_model import load as load_model
from concord.stage.params import FORBID
from concord.stage.paths import REWARDS


@dataclass(frozen=True, config=FORBID)
class HeadJudgeParams:
    """Parameters of a judge that is a reward head."""

    model: str
    """The reward model, an entry of `reward_models`."""
    objective: str
    """The head."""
    kind: Literal["head"] = "head"
    """The name of this module."""


PARAMS = HeadJudgeParams


class StandardisedHead:
    """A reward head whose scores are standardised on the answers that it judges first."""

    def __init__(self, model: RewardModel, objective: str) -> None:
        self.model, self.column = model, model.objectives.index(objective)
        self.standard: tuple[float, float] | None = None
        """Mean and standard deviation of the scores; None before the first call."""

    def verdicts(self, messages: Sequence[Messages], answers: Sequence[str]) -> np.ndarray:
        """Verdicts in [0, 1], float64 `(answers,)`."""
        scores = self.model.score(messages, answers)[:, self.column].astype(float)
        if self.standard is None:
            self.standard = float(scores.mean()), float(scores.std()) or 1.0
        mean, std = self.standard
        return np.asarray(1.0 / (1.0 + np.exp(-(scores - mean) / std)))


def load(params: HeadJudgeParams, device: Any, dtype: str, cache: Path) -> StandardisedHead:
    """The judge. It does not use `cache`."""
    return StandardisedHead(load_model(REWARDS / params.model, device, dtype), params.objective)


def missing(params: HeadJudgeParams, where: str, root: Path) -> Iterator[str]:
    """Yields nothing: the reward model is made by its stage."""
    return iter(())
