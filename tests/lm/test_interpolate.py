"""Models between two models."""

import copy
from pathlib import Path

import pytest
import torch

from concord.lm.interpolate import interpolated
from concord.lm.load import load_causal
from concord.policies.model import MultiHeadCausalLM

IDS = torch.arange(6, 18).reshape(2, 6)


def moved(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def test_the_ends_are_the_two_models_exactly(tiny_model: Path) -> None:
    reference = load_causal(tiny_model)
    model = moved(copy.deepcopy(reference))
    assert torch.equal(interpolated(reference, model, 0.0)(IDS).logits, reference(IDS).logits)
    assert torch.equal(interpolated(reference, model, 1.0)(IDS).logits, model(IDS).logits)


def test_parameters_lie_between(tiny_model: Path) -> None:
    reference = load_causal(tiny_model)
    model = moved(copy.deepcopy(reference))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    mixed = interpolated(reference, model, 0.25).state_dict()
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(mixed[name], 0.75 * value + 0.25 * before[name])
        assert torch.equal(model.state_dict()[name], before[name])


def test_a_merged_policy_reaches_the_sft_model_although_its_output_matrix_is_not_tied(
    tiny_model: Path,
) -> None:
    policy = MultiHeadCausalLM.from_sft(tiny_model, ["a", "b"], adapter_rank=2)
    moved(policy)
    sft, merged = load_causal(tiny_model), policy.merge({"a": 0.3, "b": 0.7})
    logits = interpolated(sft, merged, 0.0)(IDS).logits
    torch.testing.assert_close(logits, sft(IDS).logits)


def test_other_architectures_are_refused(tiny_model: Path) -> None:
    model = load_causal(tiny_model)
    other = copy.deepcopy(model)
    other.extra = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"different parameters, such as extra"):
        interpolated(model, other, 0.5)
