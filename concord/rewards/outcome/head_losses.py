"""Negative log-likelihoods of labels given scores: one for orders and one for grades.

A score is a utility in logits. Each kind of label has its own likelihood given the score, so all
kinds can be mixed in one fit. Orders depend on differences of scores and therefore determine them
up to a constant. Grades compare a score with the thresholds of a scale:

    comparison  P(a over b) = sigmoid(s_a - s_b - margin)
    ranking     P(order) = prod_j exp(s_j) / (sum of exp(s) over the remaining responses)
    rating      P(level >= k) = sigmoid(s - t_k), t_1 < t_2 < ...
    yes or no   P(yes) = sigmoid(s - t_1), a rating with two levels

Sources: Bradley and Terry 1952, with the margin of arXiv 2307.09288, eq. 2; Plackett 1975, with the
ties of Breslow 1974; the proportional odds model of McCullagh 1980.

A comparison is a ranking of two in which the margin is added to the score of the loser. The
functions here know nothing of objectives, masks or weights; the caller selects the rows.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus


def order(scores: Tensor, ranks: Tensor) -> Tensor:
    """Negative log-likelihood `(n,)` of orders.

    A response competes with all responses of the same or a worse rank.

    Args:
        scores: `(n, k)`, margins included.
        ranks: `(n, k)`; 1 is best, 0 is padding.

    Examples:
        >>> order(torch.tensor([[2.0, 2.0]]), torch.tensor([[1, 2]])).exp()
        tensor([2.])
    """
    real = ranks > 0
    # (n, k, k): [row, response, rival]
    competes = (ranks[:, None, :] >= ranks[:, :, None]) & real[:, None, :]
    # Padding competes with every response, so that its sum is finite and its gradient is 0.
    competes = competes | ~real[:, :, None]
    rivals = scores[:, None, :].masked_fill(~competes, -torch.inf).logsumexp(dim=2)  # (n, k)
    return torch.where(real, rivals - scores, 0.0).sum(dim=1)


def grade(scores: Tensor, levels: Tensor, thresholds: Tensor) -> Tensor:
    """Negative log-likelihood `(n,)` of grades.

    Args:
        scores: `(n,)`.
        levels: `(n,)`, integers from 0 to K - 1.
        thresholds: `(n, K-1)`, ascending, padded with inf for scales with fewer levels.
    """
    infinite = torch.full_like(scores, torch.inf)[:, None]
    bounds = torch.cat([-infinite, thresholds, infinite], dim=1)
    # P(level) = sigmoid(lower) - sigmoid(upper), where upper < lower
    lower = scores - bounds.gather(1, levels[:, None]).squeeze(1)
    upper = scores - bounds.gather(1, levels[:, None] + 1).squeeze(1)
    # log(sigmoid(a) - sigmoid(b)) = log sigmoid(a) + log sigmoid(-b) + log(1 - exp(b - a))
    return -(logsigmoid(lower) + logsigmoid(-upper) + torch.log1p(-torch.exp(upper - lower)))


def ascending(free: Tensor) -> Tensor:
    """Ascending thresholds `(scales, K-1)` from unconstrained parameters of the same shape.

    The first parameter of a row is the first threshold; softplus of the others gives the steps.
    """
    return torch.cumsum(torch.cat([free[:, :1], softplus(free[:, 1:])], dim=1), dim=1)
