"""What one annotation says about scores: a loss for an order of answers and one for a grade, on one latent score.

A score is a utility in logits. Orders speak of differences, so they fix it up to a constant; grades are answers of
people who compare it with thresholds of their own, so that both kinds can be mixed in one fit:

    comparison  P(a over b) = sigmoid(s_a - s_b - margin)   Bradley and Terry 1952; margin: arXiv 2307.09288, eq. 2
    ranking     P(order) = prod_j exp(s_j) / sum of exp(s) over those left   Plackett 1975; ties as Breslow 1974
    rating      P(level >= k) = sigmoid(s - t_k), t_1 < t_2 < ...            proportional odds, McCullagh 1980
    yes or no   P(yes) = sigmoid(s - t_1)                                    the same with two levels

A comparison is a ranking of two, whose loser's score is raised by the margin. Nothing here knows of objectives, masks
or weights: rows are gathered before.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus


def order(scores: Tensor, ranks: Tensor) -> Tensor:
    """(n,) negative log-likelihood of whole orders, from scores (n, k) and ranks (n, k): 1 is best, 0 is padding.

    An answer competes with all answers of its rank or a worse one.
    """
    there = ranks > 0
    competes = (ranks[:, None, :] >= ranks[:, :, None]) & there[
        :, None, :
    ]  # (n, k, k): [row, answer, rival]
    competes = (
        competes | ~there[:, :, None]
    )  # padding competes with all, so that its sum is finite and its gradient 0
    rivals = scores[:, None, :].masked_fill(~competes, -torch.inf).logsumexp(dim=2)  # (n, k)
    return torch.where(there, rivals - scores, 0.0).sum(dim=1)


def grade(scores: Tensor, levels: Tensor, thresholds: Tensor) -> Tensor:
    """(n,) from scores (n,), levels (n,) from 0 to K - 1, and ascending thresholds (n, K - 1), of which those that a
    scale with fewer levels has not are inf."""
    infinite = torch.full_like(scores, torch.inf)[:, None]
    bounds = torch.cat([-infinite, thresholds, infinite], dim=1)
    lower = scores - bounds.gather(1, levels[:, None]).squeeze(1)
    upper = scores - bounds.gather(1, levels[:, None] + 1).squeeze(
        1
    )  # P(level) = sigmoid(lower) - sigmoid(upper)
    # log(sigmoid(a) - sigmoid(b)) = log sigmoid(a) + log sigmoid(-b) + log(1 - exp(b - a)), and b < a
    return -(logsigmoid(lower) + logsigmoid(-upper) + torch.log1p(-torch.exp(upper - lower)))


def ascending(free: Tensor) -> Tensor:
    """Thresholds (scales, K - 1) in order from free parameters of that shape: the first, and what the steps are made
    of."""
    return torch.cumsum(torch.cat([free[:, :1], softplus(free[:, 1:])], dim=1), dim=1)
