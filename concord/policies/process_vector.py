"""A reward vector in which the process reward model scores some of the objectives.

An objective is scored either by its steps or by its verifier or reward model, never by both: the
other scorer of a process-rewarded objective is not even loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from concord.annotations.steps import split
from concord.lm.chat import Messages
from concord.objectives import Objective
from concord.policies.step_rewards import Form, answer_reward
from concord.rewards.process.process_model import ProcessRewardModel
from concord.rewards.vector.anchors import Anchors
from concord.rewards.vector.reward_vector import Exchanges, RewardVector
from concord.stage.errors import DataError, ModelError

if TYPE_CHECKING:
    import pandas as pd

    from concord.rewards.outcome.reward_model import RewardModel

ANCHOR_ANSWERS = 400
"""Rollouts of the SFT model that a process reward is anchored on, at most."""


class ProcessVector(RewardVector):
    """Scores responses on all objectives of the reward vector.

    Args:
        objectives: the objectives of the reward vector.
        models: the reward models of the objectives that are not in `forms`.
        process: the process reward model.
        forms: objective -> what its steps earn.

    Raises:
        ModelError: the process reward model has no head for an objective.
    """

    def __init__(
        self,
        objectives: Mapping[str, Objective],
        models: Mapping[str, RewardModel],
        process: ProcessRewardModel,
        forms: Mapping[str, Form],
    ) -> None:
        outcome = {name: one for name, one in objectives.items() if name not in forms}
        super().__init__(outcome, models)
        if missing := sorted(forms.keys() - set(process.objectives)):
            raise ModelError(
                f"the process reward model has no head for {', '.join(missing)}; "
                "add it to process_labels.objectives"
            )
        self.names = list(objectives)
        self.process, self.forms = process, dict(forms)
        self.domains = {name: objectives[name].domain for name in forms}
        self.steps: list[list[str]] = []
        """The steps of each response of the last call; one empty step for an empty response."""
        self.step_scores: dict[str, list[np.ndarray | None]] = {}
        """Objective -> the step scores of each response of the last call, `(steps,)`; None where
        the objective does not apply."""

    def _score(
        self, names: Sequence[str], exchanges: Exchanges, batch_size: int
    ) -> dict[str, np.ndarray]:
        """As in `RewardVector`; the scores of the process reward model are in (0, 1)."""
        outcome = [name for name in names if name not in self.forms]
        columns = super()._score(outcome, exchanges, batch_size)
        self._score_steps(exchanges.messages, exchanges.responses, exchanges.domains, batch_size)
        for name, form in self.forms.items():
            columns[name] = np.array(
                [
                    np.nan if scores is None else answer_reward(scores, form)
                    for scores in self.step_scores[name]
                ],
                dtype=np.float32,
            )
        return columns

    def _score_steps(
        self,
        messages: Sequence[Messages],
        responses: Sequence[str],
        domains: Sequence[str],
        batch_size: int,
    ) -> None:
        """Fills `steps` and `step_scores`. An empty response scores 0."""
        pairs = zip(responses, domains, strict=True)
        self.steps = [split(response, domain) or [""] for response, domain in pairs]
        self.step_scores = {
            name: [np.zeros(1) if each == domain else None for each in domains]
            for name, domain in self.domains.items()
        }
        applies = [domain in self.domains.values() for domain in domains]
        rows = [row for row, response in enumerate(responses) if applies[row] and response]
        tables = self.process.score_all(
            [messages[row] for row in rows], [self.steps[row] for row in rows], batch_size
        )
        for row, table in zip(rows, tables, strict=True):
            for name, domain in self.domains.items():
                if domain == domains[row]:
                    column = self.process.objectives.index(name)
                    self.step_scores[name][row] = table[:, column]

    def anchors(self, rollouts: pd.DataFrame) -> Anchors:
        """Anchors of the process rewards, on the SFT model's rollouts in the training data.

        Raises DataError if a domain has no rollouts.
        """
        raw = {}
        for name, domain in self.domains.items():
            frame = rollouts[rollouts["domain"] == domain]
            if frame.empty:
                raise DataError(
                    f"the domain {domain} has no rollouts, so the process reward of {name} has no "
                    "scale; add prompts of the domain to a source"
                )
            frame = frame.iloc[:: -(-len(frame) // ANCHOR_ANSWERS)]
            responses, count = frame["response"].tolist(), len(frame)
            self._score_steps(frame["messages"].tolist(), responses, [domain] * count, 64)
            scores = [each for each in self.step_scores[name] if each is not None]
            raw[name] = np.array([answer_reward(each, self.forms[name]) for each in scores])
        return Anchors.fit(raw)
