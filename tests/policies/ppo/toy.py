"""Policies and critics that are tables, and a scripted environment, for exact checks of PPO."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from concord.policies.ppo.answer_batch import Answers
from concord.policies.ppo.critic import Critic
from concord.policies.ppo.ppo_settings import PpoSettings
from concord.policies.ppo.ppo_trainer import PpoTrainer

START = 2
"""The prompt's only token. The state of an answer is its last token."""


class TablePolicy(nn.Module):
    """The logits of the next token are a row of a table, chosen by the last token."""

    def __init__(self, table: Any) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.tensor(table, dtype=torch.float32))

    def forward(self, input_ids: Any, logits_to_keep: int, **_: Any) -> Any:
        return SimpleNamespace(logits=self.table[input_ids[:, -logits_to_keep:]])


class TableBackbone(nn.Module):
    """Hidden states that depend on the last token."""

    def __init__(self, states: int, width: int) -> None:
        super().__init__()
        self.config, self.device = SimpleNamespace(hidden_size=width), "cpu"
        start = torch.eye(states, width) + 0.1  # no state is independent of the others
        self.embedding = nn.Parameter(start)

    def forward(self, input_ids: Any, **_: Any) -> Any:
        return SimpleNamespace(last_hidden_state=self.embedding[input_ids])


class Environment:
    """Samples answers of `length` tokens; their rewards are a function of the tokens."""

    def __init__(
        self, policy: TablePolicy, length: int, rows: int, rewards: Any, weights: list[float]
    ) -> None:
        self.policy, self.length, self.rows = policy, length, rows
        self.rewards, self.weights = rewards, weights

    def __call__(self, step: int) -> Answers:
        generator = torch.Generator().manual_seed(step)
        ids = torch.full((self.rows, 1), START)
        for _ in range(self.length):
            chances = self.policy.table.detach()[ids[:, -1]].softmax(-1)
            ids = torch.cat([ids, chances.multinomial(1, generator=generator)], dim=1)
        responses = ids[:, 1:].tolist()
        rewards = np.array([self.rewards(response) for response in responses], dtype=float)
        weights = np.tile(self.weights, (self.rows, 1))
        return Answers([[START]] * self.rows, responses, [True] * self.rows, rewards, weights, {})


def settings(**changes: Any) -> PpoSettings:
    return PpoSettings(
        **{"learning_rate": 0.05, "critic_learning_rate": 0.05, "steps": 4, "beta": 0.0, **changes}
    )


def trainer(
    environment: Environment, chosen: PpoSettings, names: list[str], reference: Any = None
) -> PpoTrainer:
    """A trainer of the environment's policy with a fresh critic."""
    states = len(environment.policy.table)
    critic = Critic(TableBackbone(states, states), len(names) + (reference is not None))
    return PpoTrainer(
        environment.policy, reference, critic, chosen, names, environment, pad=0, seed=0
    )
