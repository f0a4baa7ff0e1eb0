"""Log-probabilities of tokens under mixes of output heads, with little memory.

The gradient of log p of a token with respect to the logits is known: the one-hot vector of the
token less the softmax. So the forward pass keeps one copy of the logits, or none if they are many
and are computed again (Chen et al., arXiv 1604.06174). The backward pass writes the gradient of
each head's matrix where it belongs; autograd would first make one tensor per head and then a copy
of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from concord.lm import token_logprobs

KEPT = 2**26
"""Largest number of logits that the forward pass keeps for the backward pass; 256 MiB in float32.
They are in tensors of at most `token_logprobs.LOGITS` each."""


class Block(NamedTuple):
    """Tokens whose logits are computed at once."""

    heads: Sequence[int]
    """The heads that the tokens use."""
    at: Tensor
    """int64 `(n,)`: the indices of the tokens."""


class Linear(NamedTuple):
    """A product `inputs` times the transpose of `matrices`."""

    inputs: Tensor
    matrices: Tensor


def head_logprobs(
    heads: Linear, tokens: Tensor, blocks: Sequence[Block], base: Linear | None, cap: float | None
) -> Tensor:
    """log p of each token, float32 `(tokens,)`, in nats; differentiable once.

    The logits of a token are the sum over its heads of inputs times matrix, plus that of `base`.

    Args:
        heads: inputs `(heads, tokens, width)`, times the weight of the head for the token, and
            matrices `(heads, vocab, width)`.
        tokens: ids `(tokens,)`.
        blocks: the heads of each token; every token is in one block.
        base: inputs `(tokens, hidden)` and a matrix `(vocab, hidden)` that is not trained, or None.
        cap: soft-cap of the logits, or None.
    """
    logits = len(tokens) * heads.matrices.shape[1]
    keep = torch.is_grad_enabled() and logits <= KEPT
    size = token_logprobs.chunk_size(len(tokens), heads.matrices.shape[1]) or len(tokens)
    parts = [Block(block.heads, at) for block in blocks for at in block.at.split(size)]  # type: ignore[no-untyped-call]
    arguments = *heads, *(base or (None, None)), tokens, parts, cap, keep
    values: Tensor = _HeadLogprobs.apply(*arguments)  # type: ignore[no-untyped-call]
    return values


class _HeadLogprobs(torch.autograd.Function):
    """See `head_logprobs`."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        matrices: Tensor,
        base_inputs: Tensor | None,
        base: Tensor | None,
        tokens: Tensor,
        blocks: list[Block],
        cap: float | None,
        keep: bool,
    ) -> Tensor:
        values, log_sums = (inputs.new_empty(len(tokens)) for _ in range(2))
        kept = []
        for block in blocks:
            logits = _logits(block, inputs, matrices, base_inputs, base, cap)
            log_sums[block.at] = logits.logsumexp(dim=1)
            values[block.at] = logits.gather(1, tokens[block.at, None])[:, 0] - log_sums[block.at]
            if keep:
                kept.append(logits)
        ctx.blocks, ctx.cap = blocks, cap
        ctx.save_for_backward(inputs, matrices, base_inputs, base, tokens, log_sums, *kept)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, matrices, base_inputs, base, tokens, log_sums, *kept = ctx.saved_tensors
        of_inputs, of_matrices = torch.zeros_like(inputs), torch.empty_like(matrices)
        of_base = None if base_inputs is None else torch.empty_like(base_inputs)
        written: set[int] = set()
        for index, block in enumerate(ctx.blocks):
            at = block.at
            logits = (
                kept[index]
                if kept
                else _logits(block, inputs, matrices, base_inputs, base, ctx.cap)
            )
            # gradient * (one-hot - softmax); kept logits may be needed for another backward pass
            of_logits = (logits - log_sums[at, None]).exp_().mul_(-gradient[at, None])
            of_logits[torch.arange(len(at), device=at.device), tokens[at]] += gradient[at]
            if ctx.cap is not None:
                of_logits *= 1 - (logits / ctx.cap) ** 2
            for head in block.heads:
                of_inputs[head, at] = of_logits @ matrices[head]
                of_matrices[head].addmm_(of_logits.T, inputs[head, at], beta=float(head in written))
                written.add(head)
            if of_base is not None:
                of_base[at] = of_logits @ base
        for head in set(range(len(matrices))) - written:
            of_matrices[head].zero_()
        return of_inputs, of_matrices, of_base, None, None, None, None, None


def _logits(
    block: Block,
    inputs: Tensor,
    matrices: Tensor,
    base_inputs: Tensor | None,
    base: Tensor | None,
    cap: float | None,
) -> Tensor:
    """`(n, vocab)`."""
    at = block.at
    first, *others = block.heads
    logits = inputs[first, at] @ matrices[first].T
    for head in others:
        logits.addmm_(inputs[head, at], matrices[head].T)
    if base_inputs is not None and base is not None:
        logits.addmm_(base_inputs[at], base.T)
    return logits if cap is None else logits.div_(cap).tanh_().mul_(cap)
