"""Judges of whole or partial answers: a reward head, or a judge with a rubric.

Judges with a rubric are the modules of `concord/rewards/process/judges`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from concord.lm.chat import Messages
from concord.rewards.outcome.reward_model import RewardModel, complete
from concord.stage import plugins
from concord.stage.params import section


class Judge(Protocol):
    """Grades answers on one objective."""

    def verdicts(self, messages: Sequence[Messages], answers: Sequence[str]) -> np.ndarray:
        """Verdicts in [0, 1], float64 `(answers,)`, higher for better answers."""
        ...


class HeadJudge:
    """A reward head as a judge: sigmoid((score - mean) / std).

    Args:
        model: the reward model.
        objective: the objective of the head.
        standard: mean and standard deviation of the head's scores of whole answers.
    """

    def __init__(self, model: RewardModel, objective: str, standard: tuple[float, float]) -> None:
        self.model = model
        self.column = model.objectives.index(objective)
        self.standard = standard

    def verdicts(self, messages: Sequence[Messages], answers: Sequence[str]) -> np.ndarray:
        """Verdicts in [0, 1], float64 `(answers,)`."""
        mean, std = self.standard
        scores = complete(self.model, self.model.score(messages, answers))
        scores = scores[:, self.column].astype(float)
        return np.asarray(1.0 / (1.0 + np.exp(-(scores - mean) / std)))


def kind_of(entry: Any) -> str:
    """The kind of a judge: `kind`, or by default `endpoint` if it has an endpoint, else `local`.

    Examples:
        >>> kind_of({"rubric": "Be kind.", "model": "m", "endpoint": "http://localhost:8000/v1"})
        'endpoint'
        >>> kind_of({"rubric": "Be kind.", "model": "models/judge"})
        'local'
    """
    default = "endpoint" if isinstance(entry, Mapping) and "endpoint" in entry else "local"
    return str(entry.get("kind", default)) if isinstance(entry, Mapping) else default


def judge_params(entry: Any, where: str) -> Any:
    """The parameters of an entry of `process_labels.judges`. Raises ParamsError if it is invalid.

    `where` is the path of the entry in params.yaml, for error messages.
    """
    return section(_module(entry, where).PARAMS, entry, where)


def load_judge(entry: Any, where: str, device: Any, dtype: str, cache: Path) -> Judge:
    """Loads the judge of an entry of `process_labels.judges`.

    The arguments are those of `load` in `concord.rewards.process.judges`.
    """
    judge: Judge = _module(entry, where).load(judge_params(entry, where), device, dtype, cache)
    return judge


def missing(entry: Any, where: str, root: Path) -> list[str]:
    """Messages about missing prerequisites of the judge, such as a model folder."""
    return list(_module(entry, where).missing(judge_params(entry, where), where, root))


def _module(entry: Any, where: str) -> Any:
    return plugins.load("concord.rewards.process.judges", kind_of(entry), f"{where}.kind")
