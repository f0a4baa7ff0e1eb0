"""A policy made of one model per objective, all trained from the same SFT model.

There are two ways to mix the specialists with weights `w_i` that sum to 1. The difference from the
SFT model is scaled by the strength `s`, and `theta` are parameters, `p` next-token probabilities:

    parameters     theta = theta_sft + s (sum_i w_i theta_i - theta_sft)
    probabilities  log p = log p_sft + s (sum_i w_i log p_i - log p_sft) + constant

The first is rewarded soups (Ramé et al., arXiv 2306.04488): one stock model, whatever the weights.
The second is MOD (Shi et al., arXiv 2406.18853): every specialist with a nonzero weight runs at
each token. Its strength is that of decoding-time realignment (Liu et al., arXiv 2402.02992).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    DynamicCache,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.configuration_utils import SubConfigSpec
from transformers.modeling_outputs import CausalLMOutputWithPast

from concord.policies.composed import ComposedModel
from concord.policies.model import architecture, check_strength, weight_vector
from concord.policies.publish import Publishable

Mixing = Literal["parameters", "probabilities"]


class SpecialistsConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """The config that all members share, the objectives of the specialists in order, and what is
    mixed."""

    model_type = "concord_specialists"
    sub_configs_defaults: ClassVar = {
        "member": SubConfigSpec(config_class=AutoConfig, model_type="llama")
    }

    member: PreTrainedConfig | dict[str, Any] | None = None
    head_names: list[str] | None = None
    mixing: Mixing = "parameters"
    tie_word_embeddings: bool = False


class Specialists(PreTrainedModel, GenerationMixin, Publishable):  # type: ignore[no-untyped-call]
    """The SFT model and one specialist per objective: the container of the policy's folder.

    It is not called itself: `merge` gives the model at chosen weights.
    """

    config_class = SpecialistsConfig
    _supports_sdpa = True
    _supports_flash_attn = True

    def __init__(self, config: SpecialistsConfig, members: Sequence[nn.Module] = ()) -> None:
        super().__init__(config)
        count = 1 + len(config.head_names or [])
        self.members = nn.ModuleList(
            members or [architecture(AutoModelForCausalLM, config.member) for _ in range(count)]
        )
        self.post_init()  # type: ignore[no-untyped-call]

    @classmethod
    def of(cls, sft: Any, specialists: Mapping[str, Any], mixing: Mixing) -> Specialists:
        """The policy of stock models with the same architecture: objective -> specialist."""
        config = SpecialistsConfig(
            member=copy.deepcopy(sft.config),
            head_names=list(specialists),
            mixing=mixing,
            dtype=sft.dtype,
        )
        with torch.device("meta"):  # elsewhere, transformers would initialise the members again
            policy = cls(config, [nn.Identity()])
        policy.members = nn.ModuleList([sft, *specialists.values()])
        policy.generation_config = copy.deepcopy(sft.generation_config)
        policy.train(False)
        return policy

    @property
    def head_names(self) -> list[str]:
        """The objectives of the specialists, in order."""
        return list(self.config.head_names)

    def _init_weights(self, module: nn.Module) -> None:
        """Does nothing: every weight is loaded from a checkpoint."""

    def merge(self, weights: Mapping[str, float], strength: float = 1.0) -> Any:
        """The causal language model at `weights`: a stock model, or a `Mixture`.

        Args:
            weights: one weight per objective. They are normalised to sum to 1.
            strength: scales the difference from the SFT model: 1 is what was trained, 0 is the SFT
                model.

        Raises:
            ParamsError: as `weight_vector` does, or `strength` is negative or not finite.
        """
        check_strength(strength)
        of_specialists = weight_vector(weights, self.head_names).tolist()
        shares = [1 - strength, *(strength * weight for weight in of_specialists)]
        used = [pair for pair in zip(self.members, shares, strict=True) if pair[1]]
        members, shares = [member for member, _ in used], [share for _, share in used]
        mix = soup if self.config.mixing == "parameters" else Mixture
        model = mix(members, shares)
        model.generation_config = copy.deepcopy(self.generation_config)
        return model.eval()


def soup(members: Sequence[Any], shares: Sequence[float]) -> Any:
    """A new model whose parameters are the weighted sums of the members', summed in float32."""
    mixed = copy.deepcopy(members[0])
    parameters = [dict(member.named_parameters()) for member in members]
    with torch.no_grad():
        for name, parameter in mixed.named_parameters():
            pairs = zip(parameters, shares, strict=True)
            parameter.copy_(sum(share * of_member[name].float() for of_member, share in pairs))
    return mixed


class Mixture(ComposedModel):
    """Causal language models that predict as one: its logits are the weighted sum of theirs.

    Up to a constant per position, this is the weighted sum of their log-probabilities. One cache
    holds the layers of all members, one member after the other.
    """

    def __init__(self, members: Sequence[Any], shares: Sequence[float]) -> None:
        super().__init__()
        self.members, self.shares = nn.ModuleList(members), list(shares)
        self.config = _with_layers_of(members[0].config, len(members))

    def forward(
        self, past_key_values: DynamicCache | None = None, **inputs: Any
    ) -> CausalLMOutputWithPast:
        """`logits` `(batch, seq, vocab)`, float32. The arguments are those of the members."""
        caches = _caches(past_key_values, len(self.members))
        logits = sum(
            share * member(past_key_values=cache, **inputs).logits.float()
            for member, share, cache in zip(self.members, self.shares, caches, strict=True)
        )
        return CausalLMOutputWithPast(logits=logits, past_key_values=past_key_values)


def _with_layers_of(config: Any, count: int) -> Any:
    """A copy of `config` with the layers of `count` models, for building a cache."""
    config = copy.deepcopy(config)
    text = config.get_text_config()
    if getattr(text, "layer_types", None) is not None:
        text.layer_types = list(text.layer_types) * count
    text.num_hidden_layers *= count
    return config


def _caches(cache: DynamicCache | None, count: int) -> list[DynamicCache | None]:
    """The cache of each of `count` members. They share their layers with `cache`."""
    if cache is None:
        return [None] * count
    size = len(cache.layers) // count
    parts = [DynamicCache() for _ in range(count)]
    for index, part in enumerate(parts):
        part.layers = cache.layers[index * size : (index + 1) * size]
    return [*parts]


AutoConfig.register(SpecialistsConfig.model_type, SpecialistsConfig)
AutoModelForCausalLM.register(SpecialistsConfig, Specialists)
