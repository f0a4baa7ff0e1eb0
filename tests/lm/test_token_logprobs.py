"""Chunked log-probabilities equal those of a single pass, in value and gradient."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, GraniteConfig, GraniteForCausalLM

from concord.lm import token_logprobs as chunked
from concord.lm.load import load_causal
from concord.lm.sample import answer_logprobs
from concord.policies import head_logprobs
from concord.policies.model import IGNORED, MultiHeadCausalLM, one_hot
from concord.stage.errors import ModelError
from tests.policies.test_model import NAMES, SMALL, perturbed

MIXES = {
    "own head": one_hot([2, 0, 2], 3),
    "own mix": torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.25, 0.75, 0.0]]),
    "one mix": torch.tensor([0.2, 0.3, 0.5]),
}


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(6, 40, (3, 17), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def largest(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collects the number of logits of every cross-entropy and of every block of action heads."""
    sizes: list[int] = []
    plain, of_heads = torch.nn.functional.cross_entropy, head_logprobs._logits

    def counted(logits: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        sizes.append(logits.numel())
        return plain(logits, *args, **kwargs)

    def counted_of_heads(*args: Any) -> torch.Tensor:
        logits = of_heads(*args)
        sizes.append(logits.numel())
        return logits

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", counted)
    monkeypatch.setattr(head_logprobs, "_logits", counted_of_heads)
    return sizes


def value_and_gradients(
    model: Any, compute: Callable[[], torch.Tensor]
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    values = compute()
    (values * torch.tensor([1.0, -2.0, 0.5])).sum().backward()
    named = model.named_parameters()
    return values, {name: value.grad for name, value in named if value.grad is not None}


def assert_same_in_chunks(
    model: Any,
    compute: Callable[[], torch.Tensor],
    largest: list[int],
    monkeypatch: pytest.MonkeyPatch,
    budget: int,
) -> None:
    plain, gradients = value_and_gradients(model, compute)
    assert max(largest) > budget
    largest.clear()
    monkeypatch.setattr(chunked, "LOGITS", budget)
    values, in_chunks = value_and_gradients(model, compute)
    assert 0 < max(largest) <= budget
    torch.testing.assert_close(values, plain, atol=1e-5, rtol=1e-6)
    assert in_chunks.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(in_chunks[name], gradient, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(compute(), plain, atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("rank", [None, 4])
def test_action_heads(
    tiny_model: Path,
    ids: torch.Tensor,
    largest: list[int],
    monkeypatch: pytest.MonkeyPatch,
    rank: int | None,
    mix: str,
) -> None:
    """5 tokens of 102 logits fit into the budget; a row has 12."""
    model = perturbed(MultiHeadCausalLM.from_sft(tiny_model, NAMES, rank))
    labels = ids.clone()
    labels[:, :5] = IGNORED

    def compute() -> torch.Tensor:
        return model(ids, labels=labels, head_weights=MIXES[mix]).logprobs

    assert_same_in_chunks(model, compute, largest, monkeypatch, 5 * 102)


def left_padded(model: Any, ids: torch.Tensor) -> Callable[[], torch.Tensor]:
    mask = torch.ones_like(ids)
    mask[1, :6] = 0
    return lambda: answer_logprobs(model, ids, mask, torch.tensor([12, 4, 9]))


def test_a_stock_model(
    tiny_model: Path, ids: torch.Tensor, largest: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_causal(tiny_model)
    assert_same_in_chunks(model, left_padded(model, ids), largest, monkeypatch, 5 * 102)


def test_a_wrapped_model(
    tiny_model: Path, ids: torch.Tensor, largest: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training in several processes wraps the model; its forward pass must be the wrapper's."""

    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module, self.calls = load_causal(tiny_model), 0

        def forward(self, **inputs: Any) -> Any:
            self.calls += 1
            return self.module(**inputs)

    model = Wrapped()
    assert_same_in_chunks(model, left_padded(model, ids), largest, monkeypatch, 5 * 102)
    assert model.calls == 3


def test_a_model_with_a_soft_cap(
    ids: torch.Tensor, largest: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Gemma2Config(**SMALL, head_dim=8, query_pre_attn_scalar=8, final_logit_softcapping=0.5)
    model = Gemma2ForCausalLM(config).eval()
    assert_same_in_chunks(model, left_padded(model, ids), largest, monkeypatch, 5 * 40)


def test_a_model_that_scales_its_logits_is_refused(
    ids: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = GraniteForCausalLM(GraniteConfig(**SMALL, logits_scaling=8.0)).eval()
    left_padded(model, ids)()
    monkeypatch.setattr(chunked, "LOGITS", 5 * 40)
    with pytest.raises(ModelError, match=r"lower training\.micro_batch until .* 200 logits"):
        left_padded(model, ids)()


def test_chunk_sizes() -> None:
    """2^24 logits are 341 tokens of SmolLM2's vocabulary; a token is never split."""
    assert chunked.chunk_size(341, 49152) is None
    assert chunked.chunk_size(342, 49152) == 341
    assert chunked.chunk_size(2, 2**25) == 1
