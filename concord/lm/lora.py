"""Low-rank adapters (LoRA, Hu et al., arXiv 2106.09685), merged into the weights after training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.stage.params import FORBID

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, config=FORBID)
class Lora:
    """LoRA on every linear layer.

    The variants rsLoRA, DoRA and trained biases are not supported: merging them is error-prone.
    """

    rank: Annotated[int, Field(ge=1)] = 16
    """Rank r of the update B A."""
    alpha: Annotated[int, Field(ge=1)] = 32
    """The update is scaled by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout probability on the input of A during training."""


def attach(model: torch.nn.Module, lora: Lora, seed: int) -> None:
    """Adds adapters to the linear layers of `model`, in place; only the adapters are trained.

    The initial update is 0. `seed` determines the random values of A; the global random generator
    is not changed.
    """
    import torch
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        bias="none",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model)


def merge(model: torch.nn.Module) -> None:
    """Adds the updates to the weights and removes the adapters, in place."""
    from peft.tuners.lora import LoraLayer

    for name, layer in list(model.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge(safe_merge=True)
            model.set_submodule(name, layer.get_base_layer())
