"""Adapters per head: they start as the model, mix by the weights of each row, and merge exactly."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from concord.lm.load import load_causal
from concord.policies import head_adapters
from concord.policies.model import IGNORED, MultiHeadCausalLM, one_hot

NAMES = ["a", "b", "c"]
WEIGHTS = {"a": 0.2, "b": 0.3, "c": 0.5}


@pytest.fixture
def deep(tiny_model: Path) -> MultiHeadCausalLM:
    """A model whose heads differ in their matrices and in their adapters."""
    model = MultiHeadCausalLM.from_sft(tiny_model, NAMES, adapter_rank=2)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.head_parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(6, 90, (3, 17), generator=torch.Generator().manual_seed(0))


def logits(model: Any, ids: torch.Tensor, **kwargs: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(ids, **kwargs).logits


def test_a_new_model_has_the_logits_of_the_loaded_one(tiny_model: Path, ids: torch.Tensor) -> None:
    deep = MultiHeadCausalLM.from_sft(tiny_model, NAMES, adapter_rank=2)
    linear = [m for m in load_causal(tiny_model).model.modules() if isinstance(m, torch.nn.Linear)]
    assert len(list(head_adapters.named_parameters(deep))) == 2 * len(linear)
    torch.testing.assert_close(
        logits(deep, ids), logits(load_causal(tiny_model), ids), atol=1e-5, rtol=0
    )


def test_each_row_uses_its_own_mix(deep: MultiHeadCausalLM, ids: torch.Tensor) -> None:
    mixes = torch.tensor([[0.2, 0.3, 0.5], [0.0, 1.0, 0.0], [0.25, 0.0, 0.75]])
    rows = logits(deep, ids, head_weights=mixes)
    for row, mix in enumerate(mixes):
        alone = logits(deep, ids[row : row + 1], head_weights=mix)
        torch.testing.assert_close(rows[row], alone[0], atol=1e-5, rtol=0)
    assert not torch.allclose(rows[0], logits(deep, ids)[0], atol=1e-2)


def test_merging_gives_a_stock_checkpoint_with_the_same_logits(
    deep: MultiHeadCausalLM, ids: torch.Tensor, tmp_path: Path
) -> None:
    deep.merge(WEIGHTS).save_pretrained(tmp_path)
    stock = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(stock).__name__ == "LlamaForCausalLM"
    assert not any("up" in name.split(".") for name, _ in stock.named_parameters())
    mixed = logits(deep, ids, head_weights=WEIGHTS)
    torch.testing.assert_close(logits(stock, ids), mixed, atol=1e-5, rtol=0)
    assert torch.equal(logits(deep, ids, head_weights=WEIGHTS), mixed), "merging changed the model"


def test_without_strength_the_merged_model_is_the_loaded_one(
    tiny_model: Path, deep: MultiHeadCausalLM, ids: torch.Tensor
) -> None:
    """The adapters and matrices alone differ from the SFT model here; KL rises with strength."""
    start = logits(load_causal(tiny_model), ids)
    torch.testing.assert_close(logits(deep.merge(WEIGHTS, 0.0), ids), start, atol=1e-5, rtol=0)
    divergences = []
    for strength in (0.0, 0.25, 0.5, 0.75, 1.0):
        logprobs = logits(deep.merge(WEIGHTS, strength), ids).log_softmax(-1)
        difference = logprobs.exp() * (logprobs - start.log_softmax(-1))
        divergences.append(float(difference.sum(-1).mean()))
    assert divergences == sorted(divergences)
    assert divergences[0] < 1e-6 < divergences[1]


def test_saves_and_reloads_to_identical_logits(
    deep: MultiHeadCausalLM, ids: torch.Tensor, tmp_path: Path
) -> None:
    deep.save_pretrained(tmp_path)
    loaded = load_causal(tmp_path)
    assert torch.equal(
        logits(loaded, ids, head_weights=WEIGHTS), logits(deep, ids, head_weights=WEIGHTS)
    )


def test_a_head_without_rows_gets_no_gradient(deep: MultiHeadCausalLM, ids: torch.Tensor) -> None:
    labels = ids.clone()
    labels[:, 0] = IGNORED
    deep(ids, head_weights=one_hot([0, 2, 2], 3), labels=labels).logprobs.sum().backward()
    for name, parameter in head_adapters.named_parameters(deep):
        assert not parameter.grad[1].any(), name
        assert parameter.grad[0].any(), name


def test_generation_from_a_mix_equals_the_merged_model(
    deep: MultiHeadCausalLM, ids: torch.Tensor
) -> None:
    arguments = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 6, "do_sample": False}
    mixed = deep.generate(ids, head_weights=torch.tensor([0.2, 0.3, 0.5]), **arguments)
    assert torch.equal(mixed, deep.merge(WEIGHTS).generate(ids, **arguments))
