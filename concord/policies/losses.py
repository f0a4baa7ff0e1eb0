"""Pairwise preference losses: every public function here can be named as `loss` of a policy.

A loss maps the log-probabilities of pairs to one number per pair, `(pairs,)`. Its arguments with a default are its
parameters (`loss_parameters` in params.yaml). `concord.policies.preference` weights and sums the numbers.

MAH-DPO (MAHALO, arXiv 2510.01167) is any of these losses with an action head per objective: the log-probability of a
pair is the one under the head of the pair's objective, and the means of the objectives are added:

    L = sum_i alpha_i * mean over the pairs of objective i of loss(pair)
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from concord.stage.errors import ParamsError


class PairLogprobs(NamedTuple):
    """Sums of log-probabilities over response tokens, float32 `(pairs,)` each, in nats; and token counts."""

    chosen: Tensor
    """Under the policy, by the head of the pair."""
    rejected: Tensor
    reference_chosen: Tensor
    """Under the frozen SFT model."""
    reference_rejected: Tensor
    chosen_tokens: Tensor
    """Response tokens, end of sequence included."""
    rejected_tokens: Tensor

    @property
    def delta(self) -> Tensor:
        """`(pairs,)`: how much more than the reference the policy prefers the chosen response, in nats."""
        return (self.chosen - self.reference_chosen) - (self.rejected - self.reference_rejected)


def dpo(pairs: PairLogprobs, beta: float) -> Tensor:
    """-log sigmoid(beta * delta). DPO: Rafailov et al., arXiv 2305.18290, equation 7."""
    return -logsigmoid(beta * pairs.delta)


def ipo(pairs: PairLogprobs, beta: float) -> Tensor:
    """(delta per token - 1 / (2 beta))^2. IPO: Azar et al., arXiv 2310.12036, equation 17.

    As in TRL, the log-ratio of each response is divided by its number of tokens.
    """
    chosen = (pairs.chosen - pairs.reference_chosen) / pairs.chosen_tokens
    rejected = (pairs.rejected - pairs.reference_rejected) / pairs.rejected_tokens
    return (chosen - rejected - 1 / (2 * beta)) ** 2


def robust_dpo(pairs: PairLogprobs, beta: float, label_smoothing: float = 0.1) -> Tensor:
    """DPO without the bias of flipped labels. Chowdhury et al., arXiv 2403.00409, equation 11.

    Args:
        label_smoothing: the probability that a label is flipped, in [0, 0.5).
    """
    if not 0 <= label_smoothing < 0.5:
        raise ParamsError(
            f"loss_parameters.label_smoothing is {label_smoothing}; it must be in [0, 0.5)"
        )
    kept = -(1 - label_smoothing) * logsigmoid(beta * pairs.delta)
    flipped = -label_smoothing * logsigmoid(-beta * pairs.delta)
    return (kept - flipped) / (1 - 2 * label_smoothing)


def simpo(pairs: PairLogprobs, beta: float, margin: float = 0.5) -> Tensor:
    """-log sigmoid(beta * difference of mean log-probabilities - margin). Meng et al., arXiv 2405.14734, equation 6.

    Uses no reference model.

    Args:
        margin: gamma, the target difference of the rewards.
    """
    mean_chosen = pairs.chosen / pairs.chosen_tokens
    mean_rejected = pairs.rejected / pairs.rejected_tokens
    return -logsigmoid(beta * (mean_chosen - mean_rejected) - margin)


def hinge(pairs: PairLogprobs, beta: float) -> Tensor:
    """max(0, 1 - beta * delta). SLiC: Zhao et al., arXiv 2305.10425, as TRL normalises it."""
    return relu(1 - beta * pairs.delta)
