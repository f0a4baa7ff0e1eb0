"""The reward vector: raw scores of responses for every objective, NaN if one does not apply.

Each objective is scored by the verifier or the reward model that params.yaml names for it. Scores
are not combined here; they must be normalised with the anchors first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from concord.lm.chat import Messages
from concord.objectives import Objective, objectives_of
from concord.rewards.outcome.reward_model import RewardModel, complete, load
from concord.rewards.verifiers import dispatch
from concord.stage.errors import ModelError
from concord.stage.paths import REWARDS

ALL_DOMAINS = "all"
"""The domain of an objective that applies to every prompt."""


class Exchanges(NamedTuple):
    """Responses with what they answer, a row each."""

    messages: Sequence[Messages]
    responses: Sequence[str]
    domains: Sequence[str]
    references: Sequence[str | None]


class RewardVector:
    """Scores responses on all objectives.

    `names` are the objectives in the vector, in the order of params.yaml; `extra` are the others.
    `models` maps the name of a reward model to the model. Raises ModelError if a reward model has
    no head for an objective that names it.
    """

    def __init__(
        self, objectives: Mapping[str, Objective], models: Mapping[str, RewardModel]
    ) -> None:
        self.objectives, self.models = dict(objectives), dict(models)
        self.names = [name for name, objective in objectives.items() if objective.in_vector]
        self.extra = [name for name, objective in objectives.items() if not objective.in_vector]
        for name, objective in objectives.items():
            model = objective.reward
            if model is not None and name not in self.models[model].objectives:
                heads = ", ".join(self.models[model].objectives)
                raise ModelError(
                    f"the reward model {model} has no head for {name}, only for {heads}; "
                    f"add it to reward_models.{model}"
                )

    @classmethod
    def load(
        cls,
        params: Mapping[str, Any],
        root: str | Path = ".",
        device: Any = "cpu",
        dtype: str = "float32",
    ) -> RewardVector:
        """Loads the reward models named in the `objectives` section of `params`.

        They are read from `root`/models/rewards.
        """
        objectives = objectives_of(params)
        names = dict.fromkeys(
            objective.reward for objective in objectives.values() if objective.reward is not None
        )
        models = {name: load(Path(root) / REWARDS / name, device, dtype) for name in names}
        return cls(objectives, models)

    def score(
        self,
        messages: Sequence[Messages],
        responses: Sequence[str],
        domains: Sequence[str],
        references: Sequence[str | None],
        batch_size: int = 64,
    ) -> np.ndarray:
        """Scores of the objectives in the vector, float32 `(n, len(names))`, columns as in `names`.

        `references` are the reference answers for verifiers, None for prompts without one.
        """
        exchanges = Exchanges(messages, responses, domains, references)
        scores = self._score(self.names, exchanges, batch_size)
        return np.stack([scores[name] for name in self.names], axis=1)

    def score_all(
        self,
        messages: Sequence[Messages],
        responses: Sequence[str],
        domains: Sequence[str],
        references: Sequence[str | None],
        batch_size: int = 64,
    ) -> dict[str, np.ndarray]:
        """Objective -> scores, float32 `(n,)`, including the objectives in `extra`."""
        exchanges = Exchanges(messages, responses, domains, references)
        return self._score([*self.names, *self.extra], exchanges, batch_size)

    def _score(
        self, names: Sequence[str], exchanges: Exchanges, batch_size: int
    ) -> dict[str, np.ndarray]:
        messages, responses, domains, references = exchanges
        result = {name: np.full(len(responses), np.nan, dtype=np.float32) for name in names}
        # (model, domain) -> scores of all heads, so that objectives share the forward pass.
        by_model: dict[tuple[str, str], np.ndarray] = {}
        for name in names:
            objective = self.objectives[name]
            rows = [
                row
                for row, domain in enumerate(domains)
                if objective.domain in (ALL_DOMAINS, domain)
            ]
            texts = [responses[row] for row in rows]
            if objective.verifier is not None:
                result[name][rows] = dispatch.score_all(
                    objective.verifier, texts, [references[row] for row in rows]
                )
                continue
            assert objective.reward is not None
            model, key = self.models[objective.reward], (objective.reward, objective.domain)
            if key not in by_model:
                scores = model.score([messages[row] for row in rows], texts, batch_size)
                by_model[key] = complete(model, scores)
            result[name][rows] = by_model[key][:, model.objectives.index(name)]
        return result
