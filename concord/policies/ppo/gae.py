"""Generalised advantage estimation (Schulman et al., arXiv 1506.02438) for a vector of rewards.

Answers are aligned at their last token, which is the last column of every tensor. Padding is on the
left and never reaches an answer, because estimates run from right to left.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-4
"""Added to the standard deviation, as in `concord.policies.advantages`."""
NEGLIGIBLE = 1e-8
"""Returns with a smaller variance are constant, but for rounding."""


def gae(rewards: Tensor, values: Tensor, gamma: float, gae_lambda: float) -> Tensor:
    """Advantages of every token, for each stream of rewards separately (equations 16 and 11).

        A_t = sum_k (gamma lambda)^k delta_{t+k},  delta_t = r_t + gamma V_{t+1} - V_t

    The value after the last token is 0: an answer has ended there. With lambda = 1, A_t + V_t is
    the sum of the discounted rewards from t on.

    Args:
        rewards: reward of each token, `(rows, seq, streams)`.
        values: the critic's value before each token, of the same shape.

    Returns:
        `(rows, seq, streams)`; subtracts nothing and does not mask padding.
    """
    result = torch.zeros_like(rewards)
    advantage = following = torch.zeros_like(rewards[:, 0])  # (rows, streams)
    for token in reversed(range(rewards.shape[1])):
        delta = rewards[:, token] + gamma * following - values[:, token]
        advantage = delta + gamma * gae_lambda * advantage
        following = values[:, token]
        result[:, token] = advantage
    return result


def sum_then_normalize(advantages: Tensor, weights: Tensor, answer: Tensor) -> Tensor:
    """The weighted sum of the streams, normalised over the tokens of the batch; `(rows, seq)`.

    As in `concord.policies.advantages.sum_then_normalize`, rewards are summed before they are
    normalised. A common factor only changes the step size, so `beta` and the weights keep their
    meaning: the optimum is that of `sum_i w_i r_i - beta KL`. If each stream were normalised first,
    an objective would gain weight as its spread shrinks.

    Args:
        advantages: `(rows, seq, streams)`.
        weights: weight of each stream, `(rows, streams)`; 0 for a stream without a reward.
        answer: marks the tokens that are trained, `(rows, seq)`.

    Returns:
        Mean 0 and standard deviation 1 over the marked tokens, 0 elsewhere.
    """
    total = (advantages * weights[:, None]).sum(-1)
    marked = total[answer]
    if len(marked) < 2:
        return torch.zeros_like(total)
    return ((total - marked.mean()) / (marked.std() + EPSILON)).masked_fill(~answer, 0.0)


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """1 - Var(returns - values) / Var(returns), of `(tokens,)` each; NaN if returns are constant.

    1 for a critic that predicts every return, 0 for one that predicts their mean.
    """
    if len(returns) < 2 or (spread := float(returns.var())) < NEGLIGIBLE:
        return float("nan")
    return 1.0 - float((returns - values).var()) / spread
