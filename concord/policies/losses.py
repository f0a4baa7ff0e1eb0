"""Pairwise preference losses.

Every public function of this module can be the `loss` of a policy in params.yaml. To add a loss,
define a function here that maps `(pairs: PairLogprobs, beta: float | Tensor)` to one number per
pair, `(pairs,)`. `beta` is one number, or one per pair. Further arguments need a default; users set
them with `loss_parameters`. No other file needs to change. Names of helpers start with an
underscore.

`concord.policies.preference` weights and sums the numbers. MAH-DPO (MAHALO, arXiv 2510.01167) uses
any of these losses with one action head per objective. The log-probabilities of a pair are computed
with the head of its objective, and the mean losses of the objectives are added:

    L = sum_i alpha_i * mean over the pairs of objective i of loss(pair)
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from concord.stage.errors import ParamsError


class PairLogprobs(NamedTuple):
    """Log-probabilities of a batch of pairs: `(pairs,)` each, in nats, summed over response tokens.

    Examples:
        >>> from torch import tensor
        >>> pairs = PairLogprobs(
        ...     chosen=tensor([-10.0]),
        ...     rejected=tensor([-20.0]),
        ...     reference_chosen=tensor([-12.0]),
        ...     reference_rejected=tensor([-21.0]),
        ...     chosen_tokens=tensor([4]),
        ...     rejected_tokens=tensor([5]),
        ... )
        >>> pairs.delta.tolist()
        [1.0]
        >>> [round(value, 3) for value in dpo(pairs, beta=0.5).tolist()]
        [0.474]
        >>> hinge(pairs, beta=0.5).tolist()
        [0.5]
    """

    chosen: Tensor
    """float32; under the policy, with the head of the pair's objective."""
    rejected: Tensor
    """float32; under the policy, with the head of the pair's objective."""
    reference_chosen: Tensor
    """float32; under the frozen SFT model."""
    reference_rejected: Tensor
    """float32; under the frozen SFT model."""
    chosen_tokens: Tensor
    """Number of response tokens, including the end of sequence."""
    rejected_tokens: Tensor
    """Number of response tokens, including the end of sequence."""

    @property
    def delta(self) -> Tensor:
        """Margin of the log-probability ratios to the reference model, `(pairs,)`, in nats.

        It is positive if the policy prefers the chosen response more than the reference model does.
        """
        return (self.chosen - self.reference_chosen) - (self.rejected - self.reference_rejected)


def dpo(pairs: PairLogprobs, beta: float | Tensor) -> Tensor:
    """-log sigmoid(beta * delta). DPO: Rafailov et al., arXiv 2305.18290, equation 7."""
    return -logsigmoid(beta * pairs.delta)


def ipo(pairs: PairLogprobs, beta: float | Tensor) -> Tensor:
    """(delta per token - 1 / (2 beta))^2. IPO: Azar et al., arXiv 2310.12036, equation 17.

    As in TRL, the log-ratio of each response is divided by its number of tokens.
    """
    chosen = (pairs.chosen - pairs.reference_chosen) / pairs.chosen_tokens
    rejected = (pairs.rejected - pairs.reference_rejected) / pairs.rejected_tokens
    return (chosen - rejected - 1 / (2 * beta)) ** 2


def robust_dpo(pairs: PairLogprobs, beta: float | Tensor, label_smoothing: float = 0.1) -> Tensor:
    """DPO corrected for label noise. Chowdhury et al., arXiv 2403.00409, equation 11.

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


def simpo(pairs: PairLogprobs, beta: float | Tensor, margin: float = 0.5) -> Tensor:
    """-log sigmoid(beta * difference of mean log-probabilities - margin).

    SimPO: Meng et al., arXiv 2405.14734, equation 6. It does not use a reference model.

    Args:
        margin: the target reward margin, gamma in the paper.
    """
    mean_chosen = pairs.chosen / pairs.chosen_tokens
    mean_rejected = pairs.rejected / pairs.rejected_tokens
    return -logsigmoid(beta * (mean_chosen - mean_rejected) - margin)


def hinge(pairs: PairLogprobs, beta: float | Tensor) -> Tensor:
    """max(0, 1 - beta * delta). SLiC: Zhao et al., arXiv 2305.10425, normalised as in TRL."""
    return relu(1 - beta * pairs.delta)
