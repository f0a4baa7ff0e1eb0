"""The reward vector: every objective's raw score of a batch of responses, NaN where it does not apply.

Each objective is scored by the verifier or by the reward model that params.yaml names for it. Nothing here mixes the
scores: they go through the anchors first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from concord.lm.chat import Messages
from concord.objectives import Objective, objectives_of
from concord.rewards.outcome.reward_model import RewardModel, load
from concord.rewards.verifiers import dispatch
from concord.stage.errors import ModelError
from concord.stage.paths import REWARDS

EVERYWHERE = "all"  # the domain of an objective that applies to every prompt


class RewardVector:
    """Scores responses on all objectives. `names` are the members of the vector, in the order of params.yaml."""

    def __init__(self, known: Mapping[str, Objective], models: Mapping[str, RewardModel]) -> None:
        self.objectives, self.models = dict(known), dict(models)
        self.names = [name for name, objective in known.items() if objective.in_vector]
        self.extra = [name for name, objective in known.items() if not objective.in_vector]
        for name, objective in known.items():
            if (
                objective.reward is not None
                and name not in self.models[objective.reward].objectives
            ):
                raise ModelError(
                    f"the reward model {objective.reward} has no head for {name}, only for "
                    f"{', '.join(self.models[objective.reward].objectives)}; add it to reward_models.{objective.reward}"
                )

    @classmethod
    def load(
        cls,
        params: Mapping[str, Any],
        root: str | Path = ".",
        device: Any = "cpu",
        dtype: str = "float32",
    ) -> RewardVector:
        """With the reward models that the `objectives` section of `params` names, from `root`/models/rewards."""
        known = objectives_of(params)
        groups = dict.fromkeys(
            objective.reward for objective in known.values() if objective.reward is not None
        )
        return cls(
            known,
            {group: load(Path(root) / REWARDS / group, device, dtype) for group in groups},
        )

    def score(
        self,
        messages: Sequence[Messages],
        responses: Sequence[str],
        domains: Sequence[str],
        references: Sequence[str | None],
        batch_size: int = 64,
    ) -> np.ndarray:
        """float32 `[n, len(names)]`."""
        every = self._score(self.names, messages, responses, domains, references, batch_size)
        return np.stack([every[name] for name in self.names], axis=1)

    def score_all(
        self,
        messages: Sequence[Messages],
        responses: Sequence[str],
        domains: Sequence[str],
        references: Sequence[str | None],
        batch_size: int = 64,
    ) -> dict[str, np.ndarray]:
        """float32 `[n]` by objective, those outside of the vector (`extra`) too."""
        return self._score(
            [*self.names, *self.extra], messages, responses, domains, references, batch_size
        )

    def _score(
        self,
        names: Sequence[str],
        messages: Sequence[Messages],
        responses: Sequence[str],
        domains: Sequence[str],
        references: Sequence[str | None],
        batch_size: int,
    ) -> dict[str, np.ndarray]:
        result = {name: np.full(len(responses), np.nan, dtype=np.float32) for name in names}
        by_model: dict[
            tuple[str, str], np.ndarray
        ] = {}  # heads of one model share its forward pass
        for name in names:
            objective = self.objectives[name]
            rows = [
                row
                for row, domain in enumerate(domains)
                if objective.domain in (EVERYWHERE, domain)
            ]
            own = [responses[row] for row in rows]
            if objective.verifier is not None:
                result[name][rows] = dispatch.score_all(
                    objective.verifier, own, [references[row] for row in rows]
                )
                continue
            assert objective.reward is not None
            model, key = self.models[objective.reward], (objective.reward, objective.domain)
            if key not in by_model:
                by_model[key] = model.score([messages[row] for row in rows], own, batch_size)
            result[name][rows] = by_model[key][:, model.objectives.index(name)]
        return result
