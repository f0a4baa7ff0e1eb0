"""Log-probabilities under mixed heads have the values and gradients of autograd on all logits."""

from pathlib import Path
from typing import Any

import pytest
import torch

from concord.policies import head_logprobs
from concord.policies.model import IGNORED, MultiHeadCausalLM, one_hot
from tests.policies.test_model import NAMES, perturbed

MIXES = {
    "own head": one_hot([2, 0, 2], 3),
    "own mix": torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.25, 0.75, 0.0]]),
}
START = 5


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(6, 40, (3, 17), generator=torch.Generator().manual_seed(0))


def gradients(model: Any, values: torch.Tensor, **backward: Any) -> dict[str, torch.Tensor]:
    model.zero_grad()
    (values * torch.tensor([1.0, -2.0, 0.5])).sum().backward(**backward)
    return {name: each.grad for name, each in model.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("kept", [0, 2**20], ids=["computed again", "kept"])
@pytest.mark.parametrize("cap", [None, 0.5])
@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("rank", [None, 4])
def test_equal_to_autograd(
    tiny_model: Path,
    ids: torch.Tensor,
    monkeypatch: pytest.MonkeyPatch,
    rank: int | None,
    mix: str,
    cap: float | None,
    kept: int,
) -> None:
    """Also a second time on the same graph, as the gradients of each objective need it."""
    monkeypatch.setattr(head_logprobs, "KEPT", kept)
    model = perturbed(MultiHeadCausalLM.from_sft(tiny_model, NAMES, rank))
    model.config.get_text_config().final_logit_softcapping = cap
    labels = torch.where(torch.arange(17) < START, IGNORED, ids)
    logits = model(ids, head_weights=MIXES[mix]).logits[:, START - 1 : -1]
    expected = logits.log_softmax(-1).gather(2, ids[:, START:, None])[..., 0].sum(1)
    plain = gradients(model, expected)
    values = model(ids, labels=labels, head_weights=MIXES[mix]).logprobs
    torch.testing.assert_close(values, expected, atol=1e-5, rtol=1e-6)
    for backward in ({"retain_graph": True}, {}):
        computed = gradients(model, values, **backward)
        assert computed.keys() == plain.keys()
        for name, gradient in plain.items():
            torch.testing.assert_close(computed[name], gradient, atol=1e-5, rtol=1e-4)


def test_a_head_without_rows_has_a_gradient_of_exactly_zero(
    tiny_model: Path, ids: torch.Tensor
) -> None:
    model = perturbed(MultiHeadCausalLM.from_sft(tiny_model, NAMES))
    values = model(ids, labels=ids, head_weights=MIXES["own head"]).logprobs
    of_heads = gradients(model, values)["heads"]
    assert [bool(of_head.any()) for of_head in of_heads] == [True, False, True]


@pytest.mark.parametrize(("kept", "passes"), [(2**20, 1), (0, 2)])
def test_logits_are_computed_again_only_where_they_are_many(
    tiny_model: Path, ids: torch.Tensor, monkeypatch: pytest.MonkeyPatch, kept: int, passes: int
) -> None:
    counted: list[int] = []
    plain = head_logprobs._logits

    def count(*args: Any) -> torch.Tensor:
        logits = plain(*args)
        counted.append(len(logits))
        return logits

    monkeypatch.setattr(head_logprobs, "KEPT", kept)
    monkeypatch.setattr(head_logprobs, "_logits", count)
    model = MultiHeadCausalLM.from_sft(tiny_model, NAMES)
    gradients(model, model(ids, labels=ids, head_weights=MIXES["own head"]).logprobs)
    assert sum(counted) == passes * 3 * 16
