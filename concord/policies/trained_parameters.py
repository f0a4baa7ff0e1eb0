"""Which parameters of a policy with heads are trained, and at which learning rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from concord.lm.lora import Lora, attach
from concord.policies.preference_settings import HeadAdapters

if TYPE_CHECKING:
    from concord.policies.model import MultiHeadCausalLM


class HeadSettings(Protocol):
    """What decides which parameters of a model with heads are trained, and how fast."""

    @property
    def head_learning_rate(self) -> float | None: ...
    @property
    def head_adapters(self) -> HeadAdapters | None: ...
    @property
    def heads_only(self) -> bool: ...
    @property
    def lora(self) -> Lora | None: ...


def head_learning_rates(model: MultiHeadCausalLM, params: HeadSettings) -> dict[str, float]:
    """Name of a parameter -> its learning rate, if it has its own."""
    from concord.policies import head_adapters

    rate = params.head_learning_rate
    rates = {} if rate is None else dict.fromkeys(("heads", "up", "down"), rate)
    if params.head_adapters is not None:
        adapters = [name for name, _ in head_adapters.named_parameters(model)]
        rates |= dict.fromkeys(adapters, params.head_adapters.learning_rate)
    return rates


def prepare_backbone(model: MultiHeadCausalLM, params: HeadSettings, seed: int) -> None:
    """Freezes the backbone or attaches adapters, as `params` say. The heads always train."""
    if params.heads_only:
        model.backbone.requires_grad_(False)
        for parameter in model.head_parameters():
            parameter.requires_grad_(True)
    elif params.lora is not None:
        attach(model.backbone, params.lora, seed)
