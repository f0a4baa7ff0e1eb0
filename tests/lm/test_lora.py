"""Merged adapters compute what the adapted model computed, whatever the variant of LoRA."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model

from concord.lm.load import load_causal
from concord.lm.lora import Lora, attach, merge
from concord.stage.errors import ParamsError
from concord.stage.params import section

VARIANTS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "trained bias": {"bias": "all"},
    "dropout": {"lora_dropout": 0.5},
}


def changed(model: Any) -> Any:
    """The model after a training that moved every trainable parameter."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(6, 30).unsqueeze(0)).logits


@pytest.mark.parametrize("variant", VARIANTS)
def test_merging_keeps_the_logits(tiny_model: Path, variant: str) -> None:
    """The scale of rsLoRA, the magnitudes of DoRA and trained biases are all part of a merge."""
    model = load_causal(tiny_model)
    for layer in model.model.layers:
        layer.mlp.down_proj.bias = torch.nn.Parameter(torch.full((32,), 0.01))
    plain = logits(model)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", **VARIANTS[variant])
    inject_adapter_in_model(config, model)
    adapted = logits(changed(model).eval())
    assert float((adapted - plain).abs().max()) > 0.01
    merge(model)
    torch.testing.assert_close(logits(model), adapted, atol=1e-5, rtol=0)
    assert not any("lora" in name for name, _ in model.named_modules())


def test_merging_one_of_two_policies_gives_that_policy(tiny_model: Path) -> None:
    """Weights {a: 1, b: 0} over merged policies give back a, on logits."""
    policies = []
    for seed in (1, 2):
        model = load_causal(tiny_model)
        attach(model, Lora(rank=4, alpha=8), seed)
        adapted = logits(changed(model))
        merge(model)
        policies.append((model.state_dict(), adapted))
    soup = load_causal(tiny_model)
    (one, expected), (other, different) = policies
    soup.load_state_dict({name: 1.0 * one[name] + 0.0 * other[name] for name in one})
    torch.testing.assert_close(logits(soup), expected, atol=1e-5, rtol=0)
    assert float((expected - different).abs().max()) > 0.01


@pytest.mark.parametrize("variant", ["use_rslora", "use_dora", "bias"])
def test_variants_cannot_be_requested(variant: str) -> None:
    with pytest.raises(ParamsError, match=f"{variant} is an unknown key"):
        section(Lora, {variant: True}, "sft.lora")
