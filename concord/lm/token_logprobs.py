"""Log-probabilities of tokens from hidden states, with few logits in memory at the same time.

The logits of a batch are a matrix (tokens, vocabulary), and training keeps several of that size for
the backward pass. Beyond `LOGITS`, the tokens are processed in chunks. The backward pass computes
the logits of a chunk again (Chen et al., arXiv 1604.06174).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from concord.stage.errors import ModelError

LOGITS = 2**24
"""Largest number of logits in memory at the same time; 64 MiB in float32."""
TOLERANCE = 0.02
"""Largest relative difference between logits that count as the same, for bfloat16."""


def chunk_size(tokens: int, vocabulary: int) -> int | None:
    """Tokens per chunk; None if the logits of all `tokens` fit into memory at once.

    Examples:
        >>> chunk_size(tokens=100, vocabulary=49152)
        >>> chunk_size(tokens=1000, vocabulary=49152)
        341
    """
    return None if tokens * vocabulary <= LOGITS else max(1, LOGITS // vocabulary)


def token_logprobs(
    to_logits: Callable[..., Tensor], tokens: Tensor, size: int | None, *inputs: Tensor
) -> Tensor:
    """log p of each token, float32 `(tokens,)`, in nats; differentiable.

    Args:
        to_logits: a function from `inputs`, or the same rows of all of them, to logits
            `(rows, vocab)`. It must not use random numbers.
        tokens: token ids `(tokens,)`.
        size: tokens per chunk, from `chunk_size`; None for a single pass.
        inputs: hidden states and what else the logits depend on, `(tokens, ...)` each.
    """

    def logprobs(tokens: Tensor, *inputs: Tensor) -> Tensor:
        logits = to_logits(*inputs).float()
        return -torch.nn.functional.cross_entropy(logits, tokens, reduction="none")

    if size is None:
        return logprobs(tokens, *inputs)
    chunks = zip(*(part.split(size) for part in (tokens, *inputs)), strict=True)  # type: ignore[no-untyped-call]
    return torch.cat(
        [
            checkpoint(logprobs, *chunk, use_reentrant=False, preserve_rng_state=False)
            for chunk in chunks
        ]
    )


def unwrapped(model: Any) -> Any:
    """The model that torch's data parallelism wraps, or the model itself."""
    return getattr(model, "module", model)


class OutputLayer:
    """The function of a stock model from states `(n, hidden)` to logits `(n, vocab)`."""

    def __init__(self, model: Any) -> None:
        self.model, self.stock = model, unwrapped(model)
        config = self.stock.config.get_text_config()
        self.cap: float | None = getattr(config, "final_logit_softcapping", None)

    def __call__(self, states: Tensor) -> Tensor:
        logits: Tensor = self.stock.get_output_embeddings()(states)
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap

    def states(self, **inputs: Tensor) -> Tensor:
        """The final hidden states `(batch, seq, hidden)`.

        Raises ModelError if the model's own logits, at the last position, are others than those of
        this function.
        """
        kept: list[Tensor] = []
        hook = self.stock.base_model.register_forward_hook(
            lambda module, args, out: kept.append(out.last_hidden_state)
        )
        try:
            expected = self.model(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1]
        finally:
            hook.remove()
        with torch.no_grad():
            error = (self(kept[0][:, -1]) - expected).abs().max()
            if float(error) > TOLERANCE * float(expected.abs().max()):
                raise ModelError(
                    f"{type(self.stock).__name__} computes its logits with more than an output "
                    "layer and a soft-cap, so they cannot be computed in chunks; lower "
                    f"training.micro_batch until a micro-batch has at most {LOGITS} logits"
                )
        return kept[0]
