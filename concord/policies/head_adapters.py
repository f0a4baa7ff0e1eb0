"""Deep heads: a low-rank adapter per head on every linear layer of the backbone.

An output head alone cannot change what the layers compute, which all heads share. With adapters,
each objective also has an update of low rank for every linear layer (LoRA, Hu et al.,
arXiv 2106.09685). The weights mix the updates as they mix the output matrices:

    W x + sum_i w_i B_i A_i x = (W + sum_i w_i B_i A_i) x

so a mix is still a stock checkpoint, exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from concord.stage.errors import ModelError


class CurrentMix:
    """The mix of the forward pass that is running, shared by all layers of a model."""

    weights: Tensor
    """`(heads,)`, or `(batch, heads)` with a mix per row, or `(batch, seq, heads)`."""


class MixedLinear(nn.Module):
    """A linear layer with one adapter per head. It starts as the layer that it replaces.

    Args:
        base: the layer.
        heads: number of heads.
        rank: rank of each update.
        current: where the forward pass finds its mix.
        generator: draws `down`; None leaves it 0, for a checkpoint to fill.
    """

    def __init__(
        self,
        base: nn.Linear,
        heads: int,
        rank: int,
        current: CurrentMix,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.base = base
        self.current = current
        weight = base.weight
        down = weight.new_zeros(heads, rank, base.in_features, dtype=torch.float32)
        if generator is not None:
            drawn = torch.randn(down.shape, generator=generator) / base.in_features**0.5
            down = drawn.to(weight.device)
        up = weight.new_zeros(heads, base.out_features, rank, dtype=torch.float32)
        self.up, self.down = nn.Parameter(up), nn.Parameter(down)

    def forward(self, states: Tensor) -> Tensor:
        """`(batch, seq, in)` -> `(batch, seq, out)`."""
        if states.dim() != 3:
            raise ModelError(
                f"a linear layer of the model reads {tuple(states.shape)}, not (batch, seq, "
                "hidden), so rows cannot have adapters; remove head_adapters"
            )
        linear, rank = nn.functional.linear, self.down.shape[1]
        up, down = self.up.to(states.dtype), self.down.to(states.dtype)
        low = linear(states, down.flatten(0, 1))  # (batch, seq, heads * rank)
        weights = self.current.weights.to(low.dtype).repeat_interleave(rank, dim=-1)
        low = low * (weights[:, None] if weights.dim() == 2 else weights)
        update: Tensor = linear(low, up.transpose(0, 1).flatten(1))
        return self.base(states) + update  # type: ignore[no-any-return]

    def merged(self, mix: Tensor) -> nn.Linear:
        """The stock layer of a mix `(heads,)`. The update is summed in float32."""
        weight = self.base.weight
        update = torch.einsum("h,hor,hri->oi", mix.to(self.up), self.up, self.down)
        stock = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        stock.weight = nn.Parameter((weight.float() + update).to(weight.dtype).detach())
        stock.bias = self.base.bias
        return stock


def attach(
    backbone: nn.Module, heads: int, rank: int, current: CurrentMix, seed: int | None
) -> None:
    """Replaces every linear layer of `backbone` by a `MixedLinear`, in place.

    The updates start at 0. `seed` determines the random factor; None leaves it 0, for a checkpoint
    to fill.
    """
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    for name, layer in list(backbone.named_modules()):
        if isinstance(layer, nn.Linear):
            backbone.set_submodule(name, MixedLinear(layer, heads, rank, current, generator))


def merge(backbone: nn.Module, mix: Tensor) -> None:
    """Replaces every `MixedLinear` by the stock layer of a mix `(heads,)`, in place."""
    for name, layer in list(backbone.named_modules()):
        if isinstance(layer, MixedLinear):
            backbone.set_submodule(name, layer.merged(mix))


def named_parameters(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The parameters of the adapters in `model`, with their full names."""
    for name, layer in model.named_modules():
        if isinstance(layer, MixedLinear):
            yield f"{name}.up", layer.up
            yield f"{name}.down", layer.down
