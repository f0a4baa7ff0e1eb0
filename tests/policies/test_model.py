"""The multi-head policy: initialisation, routing of rows to heads, merging, saving."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    PhiConfig,
    PhiForCausalLM,
)

from concord.lm.load import load_causal
from concord.lm.lora import Lora, attach, merge
from concord.policies import model as policies
from concord.policies import steerable
from concord.policies.model import IGNORED, MultiHeadCausalLM, one_hot
from concord.stage.errors import ModelError, ParamsError

NAMES = ["a", "b", "c"]
WEIGHTS = {"a": 0.2, "b": 0.3, "c": 0.5}
SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def perturbed(model: MultiHeadCausalLM) -> MultiHeadCausalLM:
    """The model with random changes that make its heads differ."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.head_parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture(params=[None, 4], ids=["full", "rank4"])
def heads(request: pytest.FixtureRequest, tiny_model: Path) -> MultiHeadCausalLM:
    return perturbed(MultiHeadCausalLM.from_sft(tiny_model, NAMES, request.param))


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(6, 90, (3, 17), generator=torch.Generator().manual_seed(0))


def logits(model: Any, ids: torch.Tensor, **kwargs: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(ids, **kwargs).logits


@pytest.mark.parametrize("rank", [None, 4])
def test_a_new_policy_equals_the_loaded_model(
    tiny_model: Path, ids: torch.Tensor, rank: int | None
) -> None:
    """The heads equal the loaded matrix, and the global generator is not used."""
    before = torch.get_rng_state()
    heads = MultiHeadCausalLM.from_sft(tiny_model, NAMES, rank)
    assert torch.equal(before, torch.get_rng_state())
    expected = logits(load_causal(tiny_model), ids)
    for head in range(3):
        routed = logits(heads, ids, head_weights=one_hot([head] * 3, 3))
        torch.testing.assert_close(routed, expected, atol=1e-5, rtol=0)


def test_heads_are_untied_from_the_embedding(heads: MultiHeadCausalLM, ids: torch.Tensor) -> None:
    """The SFT model is tied; training a head must not change the embedding."""
    for parameter in heads.head_parameters():
        assert parameter.data_ptr() != heads.get_input_embeddings().weight.data_ptr()
    heads.backbone.requires_grad_(False)
    embedding = heads.get_input_embeddings().weight.clone()
    heads(ids, head_weights=one_hot([0, 1, 2], 3)).logits.sum().backward()
    assert heads.get_input_embeddings().weight.grad is None
    assert torch.equal(embedding, heads.get_input_embeddings().weight)


def test_saving_and_reloading_gives_identical_logits(
    heads: MultiHeadCausalLM, ids: torch.Tensor, tmp_path: Path
) -> None:
    heads.save_pretrained(tmp_path)
    loaded = steerable.load(tmp_path)
    assert isinstance(loaded, MultiHeadCausalLM)
    assert loaded.head_names == NAMES
    for call in ({"head_weights": one_hot([2, 0, 1], 3)}, {"head_weights": WEIGHTS}, {}):
        assert torch.equal(logits(loaded, ids, **call), logits(heads, ids, **call))


def test_each_row_uses_only_its_own_head(heads: MultiHeadCausalLM, ids: torch.Tensor) -> None:
    routed = logits(heads, ids, head_weights=one_hot([2, 0, 2], 3))
    for row, head in enumerate([2, 0, 2]):
        alone = logits(heads, ids[row : row + 1], head_weights=one_hot([head], 3))
        torch.testing.assert_close(routed[row], alone[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "weights", [WEIGHTS, {"a": 1.0, "b": 0.0, "c": 0.0}, {"c": 5, "a": 2, "b": 3}]
)
def test_merging_equals_mixing_the_logits(
    heads: MultiHeadCausalLM, ids: torch.Tensor, tmp_path: Path, weights: dict[str, float]
) -> None:
    """Weights are matched by name; transformers loads the result as a stock model."""
    heads.merge(weights).save_pretrained(tmp_path)
    stock = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(stock).__name__ == "LlamaForCausalLM"
    assert not stock.config.tie_word_embeddings
    shares = [weights[name] / sum(weights.values()) for name in NAMES]
    each = [logits(heads, ids, head_weights=one_hot([head] * 3, 3)) for head in range(3)]
    mixed = sum(share * part for share, part in zip(shares, each, strict=True))
    torch.testing.assert_close(logits(stock, ids), mixed, atol=1e-5, rtol=0)
    torch.testing.assert_close(logits(heads, ids, head_weights=weights), mixed, atol=1e-5, rtol=0)


@pytest.mark.parametrize("strength", [0.0, 0.4, 1.0, 1.5])
def test_strength_scales_what_the_heads_change(
    tiny_model: Path, heads: MultiHeadCausalLM, ids: torch.Tensor, strength: float
) -> None:
    """Only the heads are perturbed here, so logits move on a line from the SFT model's."""
    start, end = logits(load_causal(tiny_model), ids), logits(heads, ids, head_weights=WEIGHTS)
    expected = start + strength * (end - start)
    merged = logits(heads.merge(WEIGHTS, strength), ids)
    torch.testing.assert_close(merged, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("strength", [-0.5, float("nan"), float("inf")])
def test_an_invalid_strength(heads: MultiHeadCausalLM, strength: float) -> None:
    with pytest.raises(ParamsError, match=r"strength is .*; it must be finite and not negative"):
        heads.merge(WEIGHTS, strength)


def test_merging_does_not_change_the_heads(heads: MultiHeadCausalLM, ids: torch.Tensor) -> None:
    before = logits(heads, ids, head_weights=WEIGHTS)
    merged = heads.merge({"a": 1, "b": 0, "c": 0})
    with torch.no_grad():
        for parameter in merged.parameters():
            parameter.zero_()
    assert torch.equal(logits(heads, ids, head_weights=WEIGHTS), before)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 1.0, "b": 1.0}, r"given for \['a', 'b'\], but the heads are"),
        ({**WEIGHTS, "d": 1.0}, "give one weight per head"),
        ({"a": -1.0, "b": 1.0, "c": 1.0}, "must be finite and not negative"),
        ({"a": float("nan"), "b": 1.0, "c": 1.0}, "must be finite"),
        (dict.fromkeys(NAMES, 0.0), "at least one must be positive"),
    ],
)
def test_invalid_weights(heads: MultiHeadCausalLM, weights: dict[str, float], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        heads.merge(weights)


def test_label_logprobs(heads: MultiHeadCausalLM, ids: torch.Tensor) -> None:
    """Sums over labelled tokens of the log softmax at the previous position."""
    labels = ids.clone()
    labels[:, :5] = IGNORED
    labels[1, 12:] = IGNORED
    routed = logits(heads, ids, head_weights=one_hot([2, 0, 1], 3)).log_softmax(-1)
    expected = [
        sum(routed[r, t - 1, ids[r, t]] for t in range(5, 12 if r == 1 else 17)) for r in range(3)
    ]
    out = heads(ids, head_weights=one_hot([2, 0, 1], 3), labels=labels)
    torch.testing.assert_close(out.logprobs, torch.stack(expected), atol=1e-4, rtol=0)
    assert out.logits is None


def test_logprobs_are_summed_in_float32(tiny_model: Path, ids: torch.Tensor) -> None:
    """In bfloat16, a sum of about -70 would have a resolution of 0.5."""
    heads = MultiHeadCausalLM.from_sft(tiny_model, NAMES, dtype="bfloat16")
    labels = ids.clone()
    labels[:, 0] = IGNORED
    out = heads(ids, head_weights=one_hot([0] * 3, 3), labels=labels).logprobs
    assert out.dtype == torch.float32
    exact = logits(heads, ids, head_weights=one_hot([0] * 3, 3))[:, :-1].double().log_softmax(-1)
    exact = exact.gather(-1, ids[:, 1:, None]).sum((1, 2))
    torch.testing.assert_close(out.double(), exact, atol=1e-3, rtol=0)


def test_a_head_without_rows_gets_a_gradient_of_exactly_0(
    heads: MultiHeadCausalLM, ids: torch.Tensor
) -> None:
    heads(ids, head_weights=one_hot([0, 2, 2], 3), labels=ids).logprobs.sum().backward()
    parameters = [
        parameter for name, parameter in heads.named_parameters() if name in ("heads", "up", "down")
    ]
    for parameter in parameters:
        assert not parameter.grad[1].any()
        assert parameter.grad[0].any()
        assert parameter.grad[2].any()


def test_the_soft_cap_is_applied_after_mixing(tmp_path: Path) -> None:
    """The merged Gemma caps the mixed logits, as the multi-head model does."""
    config = Gemma2Config(**SMALL, head_dim=8, query_pre_attn_scalar=8, final_logit_softcapping=0.5)
    Gemma2ForCausalLM(config).save_pretrained(tmp_path)
    heads = perturbed(MultiHeadCausalLM.from_sft(tmp_path, NAMES))
    ids = torch.arange(3, 12).unsqueeze(0)
    mixed = logits(heads, ids, head_weights=WEIGHTS)
    assert float(mixed.abs().max()) < 0.5
    torch.testing.assert_close(logits(heads.merge(WEIGHTS), ids), mixed, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["scale", "bias"])
def test_architectures_that_cannot_be_merged_are_rejected(tmp_path: Path, kind: str) -> None:
    """Granite divides its logits by a constant, Phi adds a bias to them."""
    if kind == "scale":
        stock: Any = GraniteForCausalLM(GraniteConfig(**SMALL, logits_scaling=8.0))
    else:
        stock = PhiForCausalLM(PhiConfig(**SMALL))
        stock.lm_head.bias.data.fill_(0.5).mul_(torch.arange(40))
    stock.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="computes its logits with more than"):
        MultiHeadCausalLM.from_sft(tmp_path, NAMES)


def test_the_vocabulary_size_comes_from_the_output_matrix(
    tiny_model: Path, ids: torch.Tensor
) -> None:
    """The config says 102, the matrices have 128 rows; matrices must have equal sizes."""
    stock = load_causal(tiny_model)
    stock.resize_token_embeddings(128, mean_resizing=False)
    stock.config.vocab_size = 102
    heads = policies.from_causal(stock, NAMES)
    assert logits(heads, ids).shape == (3, 17, 128)
    assert heads.merge(WEIGHTS).config.vocab_size == 128
    stock = load_causal(tiny_model)
    stock.lm_head = torch.nn.Linear(32, 110, bias=False)
    with pytest.raises(ModelError, match="embedding has 102 tokens and the output matrix 110"):
        policies.from_causal(stock, NAMES)


def test_head_names_must_differ(tiny_model: Path) -> None:
    for names in ([], ["a", "a"]):
        with pytest.raises(ParamsError, match="every head needs its own name"):
            MultiHeadCausalLM.from_sft(tiny_model, names)


def test_each_row_can_have_its_own_mix(heads: MultiHeadCausalLM, ids: torch.Tensor) -> None:
    """A row's mix equals that mix for all rows; log-probabilities of labels follow the logits."""
    mixes = torch.tensor([[0.2, 0.3, 0.5], [0.0, 1.0, 0.0], [0.25, 0.0, 0.75]])
    rows = logits(heads, ids, head_weights=mixes)
    for row, mix in enumerate(mixes):
        alone = logits(heads, ids[row : row + 1], head_weights=mix)
        torch.testing.assert_close(rows[row], alone[0], atol=1e-5, rtol=0)
    expected = rows[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).sum((1, 2))
    labels = ids.clone()
    labels[:, 0] = IGNORED
    found = heads(ids, head_weights=mixes, labels=labels).logprobs
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_the_gradient_of_a_mix_reaches_its_heads_by_their_weights(
    tiny_model: Path, ids: torch.Tensor
) -> None:
    heads = MultiHeadCausalLM.from_sft(tiny_model, NAMES)
    mix = torch.tensor([[0.25, 0.75, 0.0]] * 3)
    heads(ids, head_weights=mix, labels=ids).logprobs.sum().backward()
    gradient = heads.heads.grad
    torch.testing.assert_close(3 * gradient[0], gradient[1], atol=1e-4, rtol=1e-4)
    assert not gradient[2].any()


def test_transformers_generates_from_a_mix(heads: MultiHeadCausalLM, ids: torch.Tensor) -> None:
    arguments = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 6, "do_sample": False}
    mixed = heads.generate(ids, head_weights=torch.tensor([0.2, 0.3, 0.5]), **arguments)
    assert torch.equal(mixed, heads.merge(WEIGHTS).generate(ids, **arguments))


def test_adapters_merge_to_the_same_logits(tiny_model: Path, ids: torch.Tensor) -> None:
    """The merged logits equal the adapted ones, and attaching does not use the global generator."""
    heads = perturbed(MultiHeadCausalLM.from_sft(tiny_model, NAMES))
    plain, before = logits(heads, ids), torch.get_rng_state()
    attach(heads.backbone, Lora(rank=2, alpha=8), seed=3)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(logits(heads, ids), plain)
    with torch.no_grad():
        for name, parameter in heads.named_parameters():
            if "lora_B" in name:
                parameter += 0.1 * torch.ones_like(parameter)
    adapted = logits(heads, ids)
    assert not torch.allclose(adapted, plain, atol=1e-2)
    merge(heads.backbone)
    torch.testing.assert_close(logits(heads, ids), adapted, atol=1e-5, rtol=0)
    assert not any("lora" in name for name, _ in heads.named_parameters())
