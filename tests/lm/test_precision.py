"""bfloat16 means float32 parameters under autocast: small updates are kept, in every training."""

from pathlib import Path
from typing import Any

import pytest
import torch

from concord.lm.load import load_causal
from concord.lm.precision import autocast, kept_share
from concord.lm.train import Training, fit
from concord.policies import head_adapters
from concord.policies.model import IGNORED, MultiHeadCausalLM, one_hot
from concord.policies.steerable import load
from tasks import sft

TRAINING = Training(learning_rate=1e-6, batch_size=2, steps=40, schedule="constant", warmup_share=0)


def sft_rows() -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    return [
        {"ids": torch.randint(6, 90, (20,), generator=generator).tolist(), "prompt": 5}
        for _ in range(8)
    ]


def share_moved(model: Any, dtype: str) -> float:
    """Share of the weights that 40 steps at 1e-6 change."""
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    rows = sft_rows()
    fit(model, rows, lambda batch: sft.collate(batch, 0), sft.loss, TRAINING, seed=0, dtype=dtype)
    moved = {name: value != before[name] for name, value in model.named_parameters()}
    return sum(int(each.sum()) for each in moved.values()) / sum(map(torch.numel, moved.values()))


def test_forty_small_steps_move_the_weights(tiny_model: Path) -> None:
    """Weights held in bfloat16 hardly move; with float32 parameters under autocast all do."""
    assert share_moved(load_causal(tiny_model), "bfloat16") > 0.995
    assert share_moved(load_causal(tiny_model, dtype="bfloat16"), "float32") < 0.1


def test_float32_is_not_autocast(tiny_model: Path) -> None:
    model, ids = load_causal(tiny_model), torch.arange(6, 20).unsqueeze(0)
    with torch.no_grad():
        plain = model(ids).logits
        with autocast("cpu", "float32"):
            assert not torch.is_autocast_enabled("cpu")
            assert torch.equal(model(ids).logits, plain)
        with autocast("cpu", "bfloat16"):
            assert model(ids).logits.dtype == torch.bfloat16


def test_heads_compute_in_float32_under_autocast(tiny_model: Path) -> None:
    """A change of a head that bfloat16 could not represent changes the log-probabilities."""
    model = MultiHeadCausalLM.from_sft(tiny_model, ["a", "b"], head_rank=2)
    ids = torch.arange(6, 26).unsqueeze(0)
    labels = torch.cat([torch.full((1, 5), IGNORED), ids[:, 5:]], dim=1)

    def logprob(head: int) -> float:
        with torch.no_grad(), autocast("cpu", "bfloat16"):
            out = model(ids, labels=labels, head_weights=one_hot([head], 2))
        return float(out.logprobs.double())

    assert logprob(0) == logprob(1)
    with torch.no_grad():
        model.up[1] += 1e-5 * torch.randn(model.up[1].shape, generator=torch.Generator())
    assert 1e-6 < abs(logprob(0) - logprob(1)) < 1e-2


def test_heads_and_adapters_are_loaded_in_float32(tiny_model: Path, tmp_path: Path) -> None:
    """The backbone is bfloat16, and so is a merged model; its logits are the policy's, rounded."""
    deep = MultiHeadCausalLM.from_sft(tiny_model, ["a", "b"], head_rank=2, adapter_rank=2)
    with torch.no_grad():
        for parameter in deep.head_parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=torch.Generator())
    deep.save_pretrained(tmp_path)
    loaded = load(tmp_path, dtype="bfloat16")
    trained = {id(parameter) for parameter in loaded.head_parameters()} | {id(loaded.shared)}
    for parameter in loaded.parameters():
        expected = torch.float32 if id(parameter) in trained else torch.bfloat16
        assert parameter.dtype == expected
    assert len(list(head_adapters.named_parameters(loaded))) > 0
    assert torch.equal(loaded.up, deep.up)
    merged, ids = loaded.merge({"a": 1.0, "b": 0.0}), torch.arange(6, 20).unsqueeze(0)
    assert {parameter.dtype for parameter in merged.parameters()} == {torch.bfloat16}
    with torch.no_grad():
        exact = deep(ids, head_weights={"a": 1.0, "b": 0.0}).logits
        for logits in (merged(ids).logits, loaded(ids, head_weights={"a": 1, "b": 0}).logits):
            torch.testing.assert_close(logits.float(), exact, atol=0.05, rtol=0)


def test_kept_share_by_hand() -> None:
    """Between 1 and 2 bfloat16 has steps of 2^-7 = .0078, so 1.003 becomes 1 and 1.02 stays 1.0234.

    The changes are (.003, .02); rounded (0, .0234375), so the share is .02 * .0234 / .000409.
    """
    before = {"w": torch.ones(2)}
    after = {"w": torch.tensor([1.003, 1.02])}
    expected = 0.02 * 0.0234375 / (0.003**2 + 0.02**2)
    assert kept_share(before, after, "bfloat16") == pytest.approx(expected, rel=1e-4)
    assert kept_share(before, before, "bfloat16") == 1.0
    assert kept_share(before, after, "float32") == pytest.approx(1.0)
