"""Judges of answers, whole or in part: a reward head, or a judge with a rubric (`concord/rewards/process/judges`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from concord.lm.chat import Messages
from concord.stage import plugins
from concord.stage.params import section

if TYPE_CHECKING:
    from concord.rewards.outcome.reward_model import RewardModel


class Judge(Protocol):
    """Anything that says how well answers do on one objective."""

    def verdicts(self, messages: Sequence[Messages], answers: Sequence[str]) -> np.ndarray:
        """float64 `[n]` in [0, 1]."""
        ...


class HeadJudge:
    """A reward head, by the mean and standard deviation of its scores of whole answers: sigmoid((s - mean) / std)."""

    def __init__(self, model: RewardModel, objective: str, standard: tuple[float, float]) -> None:
        self.model, self.column, self.standard = model, model.objectives.index(objective), standard

    def verdicts(self, messages: Sequence[Messages], answers: Sequence[str]) -> np.ndarray:
        """float64 `[n]`."""
        mean, std = self.standard
        scores = self.model.score(messages, answers)[:, self.column].astype(float)
        return np.asarray(1.0 / (1.0 + np.exp(-(scores - mean) / std)))


def kind_of(entry: Any) -> str:
    """The module of a judge: its `kind`, else `endpoint` if it has an endpoint, else `local`."""
    default = "endpoint" if isinstance(entry, Mapping) and "endpoint" in entry else "local"
    return str(entry.get("kind", default)) if isinstance(entry, Mapping) else default


def judge_params(entry: Any, where: str) -> Any:
    """The parameters of one entry of `process_labels.judges`. Raises ParamsError for what its kind does not know."""
    return section(_module(entry, where).PARAMS, entry, where)


def load_judge(entry: Any, where: str, device: Any, dtype: str, cache: Path) -> Judge:
    """The judge that an entry of `process_labels.judges` describes."""
    judge: Judge = _module(entry, where).load(judge_params(entry, where), device, dtype, cache)
    return judge


def missing(entry: Any, where: str, root: Path) -> list[str]:
    """What the judge needs and is not there, a line each."""
    return list(_module(entry, where).missing(judge_params(entry, where), where, root))


def _module(entry: Any, where: str) -> Any:
    return plugins.load("concord.rewards.process.judges", kind_of(entry), f"{where}.kind")
