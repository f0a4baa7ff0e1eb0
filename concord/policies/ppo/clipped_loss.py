"""The losses of PPO. Both are means over the tokens that are trained."""

from __future__ import annotations

from torch import Tensor


def policy_loss(
    logprobs: Tensor, sampled: Tensor, advantages: Tensor, answer: Tensor, clip: float
) -> tuple[Tensor, Tensor]:
    """The clipped surrogate (arXiv 1707.06347, equation 7), negated, and the share that is clipped.

        L = -mean_t min(r_t A_t, clamp(r_t, 1 - clip, 1 + clip) A_t),  r_t = p(y_t) / p_sampled(y_t)

    Args:
        logprobs: log-probabilities of the tokens under the policy, `(rows, seq)`, in nats.
        sampled: the same under the policy that sampled them.
        advantages: `(rows, seq)`.
        answer: marks the tokens that are trained, `(rows, seq)`.
    """
    ratio = (logprobs - sampled).masked_fill(~answer, 0.0).exp()
    kept = ratio.clamp(1 - clip, 1 + clip)
    gain = (ratio * advantages).minimum(kept * advantages)
    clipped = (ratio * advantages > kept * advantages) & answer
    tokens = answer.sum().clamp(min=1)
    return -gain.masked_fill(~answer, 0.0).sum() / tokens, clipped.sum() / tokens


def value_losses(values: Tensor, returns: Tensor, answer: Tensor, trained: Tensor) -> Tensor:
    """Half the squared error of each stream, `(streams,)`; their sum is the critic's loss.

    The mean is over all tokens, so a stream adds in proportion to the answers that it applies to.
    Values are not clipped: Andrychowicz et al. (arXiv 2006.05990) measured no gain from it.

    Args:
        values: `(rows, seq, streams)`.
        returns: the targets, of the same shape.
        answer: marks the tokens that are trained, `(rows, seq)`.
        trained: marks the streams of each row that have a reward and a weight, `(rows, streams)`.
    """
    used = answer[:, :, None] & trained[:, None]
    errors = (values - returns).square().masked_fill(~used, 0.0)
    return 0.5 * errors.sum((0, 1)) / answer.sum().clamp(min=1)
