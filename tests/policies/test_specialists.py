"""Specialists as one policy: soups of parameters and mixtures of probabilities."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from concord.lm import sample
from concord.lm.load import load_causal
from concord.policies import steerable
from concord.policies.model import MultiHeadCausalLM
from concord.policies.specialists import Mixing, Mixture, Specialists
from concord.stage.errors import ModelError, ParamsError
from concord.steering.steered import Sampling, Steered

MIXINGS: list[Mixing] = ["parameters", "probabilities"]
MESSAGES = [[{"role": "user", "content": text}] for text in ("Hello?", "What is 2 + 2?", "Hi")]
ANSWERS = ["Four.", "It is four.", "No"]


@pytest.fixture
def models(tiny_model: Path) -> dict[str, Any]:
    """The SFT model and two models that differ from it and from each other."""
    sft = MultiHeadCausalLM.from_sft(tiny_model, ["sft"]).merge({"sft": 1.0})
    models = {"sft": sft, "b": copy.deepcopy(sft), "a": copy.deepcopy(sft)}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name in ("a", "b"):
            for parameter in models[name].parameters():
                parameter += (
                    0.3 * parameter.std() * torch.randn(parameter.shape, generator=generator)
                )
    return models


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(6, 90, (2, 9), generator=torch.Generator().manual_seed(1))


def saved(models: dict[str, Any], mixing: Mixing, folder: Path) -> Any:
    """The policy of the models, written and loaded. `b` comes before `a`."""
    copies = copy.deepcopy(models)
    sft = copies.pop("sft")
    Specialists.of(sft, copies, mixing).save_pretrained(folder)
    return steerable.load(folder)


@torch.no_grad()
def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = model(input_ids=ids).logits
    return result


@pytest.mark.parametrize("mixing", MIXINGS)
def test_corners_are_the_specialists_bit_for_bit(
    models: dict[str, Any], ids: torch.Tensor, tmp_path: Path, mixing: Mixing
) -> None:
    """Weights are bound by name, in any order; strength 0 is the SFT model."""
    policy = saved(models, mixing, tmp_path)
    assert isinstance(policy, steerable.Steerable)
    assert policy.head_names == ["b", "a"]
    for name, weights in (("a", {"a": 1.0, "b": 0.0}), ("b", {"a": 0.0, "b": 2.0})):
        expected = logits(models[name], ids)
        assert torch.equal(logits(policy.merge(weights), ids), expected)
        assert torch.equal(
            logits(policy.merge(weights, strength=0.0), ids), logits(models["sft"], ids)
        )
        reverse = dict(reversed(weights.items()))
        assert torch.equal(logits(policy.merge(reverse), ids), expected)


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_a_soup_mixes_parameters(models: dict[str, Any], tmp_path: Path, strength: float) -> None:
    """W_sft + s (3/4 W_a + 1/4 W_b - W_sft), for every parameter."""
    mixed = saved(models, "parameters", tmp_path).merge({"a": 3.0, "b": 1.0}, strength)
    assert type(mixed) is type(models["sft"])
    sft, a, b = (models[name].state_dict() for name in ("sft", "a", "b"))
    for name, value in mixed.state_dict().items():
        change = 0.75 * a[name] + 0.25 * b[name] - sft[name]
        torch.testing.assert_close(value, sft[name] + strength * change)


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_a_mixture_mixes_log_probabilities(
    models: dict[str, Any], ids: torch.Tensor, tmp_path: Path, strength: float
) -> None:
    mixed = saved(models, "probabilities", tmp_path).merge({"a": 3.0, "b": 1.0}, strength)
    sft, a, b = (logits(models[name], ids).log_softmax(-1) for name in ("sft", "a", "b"))
    expected = (sft + strength * (0.75 * a + 0.25 * b - sft)).softmax(-1)
    torch.testing.assert_close(logits(mixed, ids).softmax(-1), expected)
    assert len(mixed.members) == (2 if strength == 1 else 3)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_mixture_is_sampled_with_one_cache(
    models: dict[str, Any], tmp_path: Path, tiny_tokenizer: Any, temperature: float
) -> None:
    """Equal to a whole forward pass per token, without padding and without a cache."""
    mixed = saved(models, "probabilities", tmp_path).merge({"a": 1.0, "b": 1.0}, 1.5)
    prompts = [[10, 11, 12, 13], [30], [30], [40, 41]]
    drawn = sample.sample_ids(
        mixed, tiny_tokenizer, prompts, max_new_tokens=12, temperature=temperature, seed=3
    )
    uniforms = torch.tensor(sample._uniforms(prompts, 12, 3))
    stops = set(sample.stop_ids(mixed, tiny_tokenizer).tolist())
    for prompt, response, row in zip(prompts, drawn, uniforms, strict=True):
        ids = list(prompt)
        for uniform in row:
            last = logits(mixed, torch.tensor([ids]))[:, -1]
            ids.append(int(sample._sample_tokens(last, uniform[None], temperature)))
            if ids[-1] in stops:
                break
        assert response == ids[len(prompt) :]


@pytest.mark.parametrize("mixing", MIXINGS)
def test_the_likelihood_is_that_of_the_merged_model(
    models: dict[str, Any], tmp_path: Path, tiny_tokenizer: Any, mixing: Mixing
) -> None:
    policy, sampling = saved(models, mixing, tmp_path), Sampling(5, 1.0, 2, 128, seed=1)
    steered = Steered(policy, models["sft"], tiny_tokenizer, sampling)
    assert steered.heads == ["b", "a"]
    points = [{"a": 1.0}, {"a": 0.3, "b": 0.7}]
    summed, kl, lengths = steered.likelihood(MESSAGES, ANSWERS, points)
    assert lengths.tolist() == [len(text) + 1 for text in ANSWERS]
    alone = Steered(models["a"], models["sft"], tiny_tokenizer, sampling)
    expected_summed, expected_kl, _ = alone.likelihood(MESSAGES, ANSWERS, [{}])
    np.testing.assert_allclose(summed[0], expected_summed[0], rtol=1e-4)
    np.testing.assert_allclose(kl[0], expected_kl[0], rtol=1e-4)
    merged = policy.merge(points[1])
    expected = sample.logprobs(merged, tiny_tokenizer, MESSAGES, ANSWERS, max_length=128)
    np.testing.assert_allclose(summed[1], expected, rtol=1e-5)


def test_a_mixture_answers_with_its_kl(
    models: dict[str, Any], tmp_path: Path, tiny_tokenizer: Any
) -> None:
    """At a corner, texts and KL are those of the specialist."""
    sampling = Sampling(5, 1.0, 2, 128, seed=1)
    policy = saved(models, "probabilities", tmp_path)
    mixed, alone = (
        Steered(model, models["sft"], tiny_tokenizer, sampling).answers(MESSAGES, {"a": 1.0})
        for model in (policy, models["a"])
    )
    assert mixed.texts == alone.texts
    np.testing.assert_allclose(mixed.kl, alone.kl, atol=1e-6)


def test_only_a_soup_can_be_written(models: dict[str, Any], tmp_path: Path) -> None:
    saved(models, "parameters", tmp_path / "soup").merge({"a": 1.0, "b": 1.0}).save_pretrained(
        tmp_path / "stock"
    )
    assert type(load_causal(tmp_path / "stock")) is type(models["sft"])
    mixed = saved(models, "probabilities", tmp_path / "mod").merge({"a": 1.0, "b": 1.0})
    assert isinstance(mixed, Mixture)
    with pytest.raises(ModelError, match="a Mixture cannot be written to"):
        mixed.save_pretrained(tmp_path / "other")


@pytest.mark.parametrize(
    ("weights", "strength", "message"),
    [
        ({"a": 1.0}, 1.0, "give one weight per head"),
        ({"a": 0.0, "b": 0.0}, 1.0, "at least one must be positive"),
        ({"a": 1.0, "b": 1.0}, -1.0, "strength is -1.0"),
    ],
)
def test_invalid_weights(
    models: dict[str, Any], weights: dict[str, float], strength: float, message: str
) -> None:
    policy = Specialists.of(models["sft"], {"a": models["a"], "b": models["b"]}, "parameters")
    with pytest.raises(ParamsError, match=message):
        policy.merge(weights, strength)
