"""What PPO learns from in one step: estimates for every token of a batch of answers.

A stream of rewards is an objective, or the KL penalty, which is the last stream if there is a
reference:

- An objective gives its anchored reward at the last token of an answer, and 0 before. A process
  reward is given in parts, at the last token of each step. An objective without a reward for a row,
  or without a weight, adds exactly 0 to both losses.
- The KL penalty gives -beta log(p(y_t) / p_SFT(y_t)) at every token, with weight 1.

The critic has a value head per stream, so each stream has its own advantages. They are summed with
the weights of the row afterwards.

Answers that did not reach their end of sequence are masked. The reward of an unfinished answer says
little, and a value in its place would be the critic's guess about endings that it has never seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from concord.policies.ppo.answer_batch import (
    AnswerBatch,
    Answers,
    distributions,
    token_logprobs,
)
from concord.policies.ppo.gae import explained_variance, gae, sum_then_normalize
from concord.policies.ppo.ppo_settings import PpoSettings


@dataclass(frozen=True)
class TokenScores:
    """What the models say about each token, in nats, `(rows, kept)` unless a shape is given."""

    logprobs: Tensor
    """Log-probabilities of the tokens under the policy that sampled them."""
    log_ratio: Tensor
    """log p(y_t) / p_SFT(y_t); 0 without a reference."""
    kl: Tensor
    """Exact KL divergence of the next token's distribution from the reference's."""
    entropy: Tensor
    """Entropy of the next token's distribution."""
    values: Tensor
    """The critic's values, `(rows, kept, streams)`."""


@dataclass(frozen=True)
class Streams:
    """The rewards of every stream."""

    rewards: Tensor
    """`(rows, kept, streams)`."""
    weights: Tensor
    """Weight of each stream, 0 without a reward, `(rows, streams)`."""

    @property
    def trained(self) -> Tensor:
        """Marks the streams of each row that have a reward and a weight, `(rows, streams)`."""
        return self.weights > 0


@dataclass(frozen=True)
class Experience:
    """What the losses need to know about a batch. Estimates are from before its first update."""

    batch: AnswerBatch
    logprobs: Tensor
    """Log-probabilities of the tokens under the policy that sampled them, `(rows, kept)`."""
    advantages: Tensor
    """Advantages, summed over the streams and normalised, `(rows, kept)`."""
    returns: Tensor
    """Targets of the critic, `(rows, kept, streams)`."""
    trained: Tensor
    """Marks the streams of each row that have a reward and a weight, `(rows, streams)`."""


@torch.no_grad()
def score_tokens(
    policy: Any, reference: Any, critic: Any, batch: AnswerBatch, parts: int
) -> TokenScores:
    """Runs the models on the batch, in `parts` forward passes; `reference` can be None."""
    scores = []
    for rows in batch.parts(parts):
        inputs = batch.inputs_of(rows)
        current = distributions(policy, inputs, batch.kept)
        stock = current if reference is None else distributions(reference, inputs, batch.kept)
        logprobs = token_logprobs(current, inputs)
        scores.append(
            (
                logprobs,
                logprobs - token_logprobs(stock, inputs),
                (current.exp() * (current - stock)).sum(-1),
                -(current.exp() * current).sum(-1),
                critic(inputs, batch.kept),
            )
        )
    return TokenScores(*(torch.cat(column) for column in zip(*scores, strict=True)))


def streams_of(answers: Answers, log_ratio: Tensor, beta: float) -> Streams:
    """The rewards and weights of all streams; no KL penalty if `beta` is 0."""
    outcome = torch.tensor(answers.rewards, dtype=torch.float32, device=log_ratio.device)
    weights = torch.tensor(answers.weights, dtype=torch.float32, device=log_ratio.device)
    weights = weights.masked_fill(outcome.isnan(), 0.0)
    rewards = log_ratio.new_zeros(*log_ratio.shape, outcome.shape[1])
    rewards[:, -1] = outcome.nan_to_num(0.0)
    for column, rows in answers.step_rewards.items():
        rewards[:, -1, column] = 0.0
        for row, steps in enumerate(rows):
            start = rewards.shape[1] - len(answers.responses[row])
            for token, reward in steps:
                rewards[row, start + token, column] += reward
    if beta:
        rewards = torch.cat([rewards, -beta * log_ratio[:, :, None]], dim=-1)
        weights = torch.cat([weights, torch.ones_like(weights[:, :1])], dim=-1)
    return Streams(rewards, weights)


def experience_of(
    batch: AnswerBatch, scores: TokenScores, streams: Streams, settings: PpoSettings
) -> Experience:
    """Advantages and returns of every token."""
    advantages = gae(streams.rewards, scores.values, settings.gamma, settings.gae_lambda)
    total = sum_then_normalize(advantages, streams.weights, batch.trained)
    returns = advantages + scores.values
    return Experience(batch, scores.logprobs, total, returns, streams.trained)


def batch_metrics(
    batch: AnswerBatch, scores: TokenScores, streams: Streams, names: list[str], gamma: float
) -> dict[str, float]:
    """KL in nats per answer, entropy in nats per token, mean length, and the critic's fit.

    The explained variance of a stream is that of the discounted rewards to come, without
    bootstrapping. `names` are the streams.
    """
    outcomes = gae(streams.rewards, torch.zeros_like(scores.values), gamma, 1.0)
    metrics = {
        "kl": float(scores.kl.masked_fill(~batch.sampled, 0.0).sum(1).mean()),
        "entropy": float(scores.entropy[batch.sampled].mean()),
        "length": float(batch.sampled.sum(1).float().mean()),
        "unfinished": 1.0 - float(batch.trained.any(1).float().mean()),
    }
    for stream, name in enumerate(names):
        used = batch.trained & streams.trained[:, stream, None]
        metrics[f"explained_variance.{name}"] = explained_variance(
            scores.values[..., stream][used], outcomes[..., stream][used]
        )
    return metrics
