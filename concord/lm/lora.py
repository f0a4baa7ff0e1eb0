"""Low-rank adapters on a backbone while it is trained (Hu et al., arXiv 2106.09685), merged into it at the end."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.stage.params import FORBID


@dataclass(frozen=True, config=FORBID)
class Lora:
    """Plain LoRA on every linear layer; its variants have merging traps (rsLoRA, DoRA, biases) and are not offered."""

    rank: Annotated[int, Field(ge=1)] = 16
    """r of the update B A."""
    alpha: Annotated[int, Field(ge=1)] = 32
    """The update counts alpha / rank times."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the inputs of A set to zero while training."""


def attach(model: Any, lora: Lora, seed: int) -> None:
    """Puts adapters into the linear layers of `model`, where they alone train from now on; the update starts at 0.

    The draw of A comes from `seed`; the global generator is left alone.
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


def merge(model: Any) -> None:
    """Adds the updates to the weights and takes the adapters out."""
    from peft.tuners.lora import LoraLayer

    for name, layer in list(model.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge(safe_merge=True)
            model.set_submodule(name, layer.get_base_layer())
