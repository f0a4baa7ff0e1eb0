"""Preference losses: pure functions of log-probabilities.

DPO: Rafailov et al., arXiv 2305.18290, equation 7. MAH-DPO: MAHALO, arXiv 2510.01167; the same loss, where the policy's
log-probability of a pair is the one under the head of the pair's objective, and the objectives' means are summed:

    L = sum_i alpha_i * mean over pairs of objective i of -log sigmoid(beta * delta)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def delta(chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor) -> Tensor:
    """(pairs,): by how much more than the reference the policy prefers the chosen response, in nats.

    Args: all (pairs,), float32 sums of log-probabilities over response tokens; the first two under each pair's head.
    """
    return (chosen - reference_chosen) - (rejected - reference_rejected)


def weighted_dpo(delta: Tensor, weights: Tensor, beta: float) -> Tensor:
    """sum over pairs of weight * -log sigmoid(beta * delta): a scalar.

    Args:
        delta: (pairs,), see `delta`.
        weights: (pairs,), alpha_i / n_i with n_i the pairs of objective i in the global batch (`row_weights`), so that
            micro-batches and processes add up to exactly the loss of the global batch, and an objective without pairs
            adds exactly 0.
        beta: how strongly the policy is held to the reference.
    """
    return (weights * -logsigmoid(beta * delta)).sum()


def row_weights(groups: Sequence[str], alpha: Mapping[str, float]) -> list[float]:
    """alpha_i / n_i for each pair of one global batch, from the pairs' objectives."""
    counts = {group: groups.count(group) for group in set(groups)}
    return [alpha[group] / counts[group] for group in groups]


def figures(delta: Tensor, heads: Tensor, names: Sequence[str]) -> dict[str, float]:
    """For the curve: share of pairs ranked as asked and mean delta, over all and by name (NaN without a pair)."""
    with torch.no_grad():
        result = {"accuracy": float((delta > 0).float().mean()), "delta": float(delta.mean())}
        for head, name in enumerate(names):
            own = delta[heads == head]
            result[f"accuracy.{name}"] = float((own > 0).float().mean())
            result[f"delta.{name}"] = float(own.mean())
    return result
