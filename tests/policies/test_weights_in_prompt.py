"""Weights as text in front of the prompt: the same as a longer prompt, for the policy alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from concord.lm import sample
from concord.lm.chat import encode
from concord.lm.divergence import compare
from concord.lm.load import load_causal
from concord.policies import steerable
from concord.policies.weights_in_prompt import OBJECTIVES, PrefixedModel, weights_text
from concord.stage.errors import ModelError, ParamsError
from concord.steering.steered import Sampling, Steered

PREFIX = [50, 51, 52]
PROMPTS = [[20, 21, 22, 23, 24], [30], [30], [40, 41]]


@pytest.fixture
def model(tiny_model: Path) -> Any:
    """A model whose attention is strong, so that earlier tokens matter."""
    model = load_causal(tiny_model)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.v_proj.weight *= 10
            layer.self_attn.o_proj.weight *= 10
    return model


@pytest.fixture
def policy(model: Any, tiny_tokenizer: Any, tmp_path: Path) -> Any:
    """A policy that reads the weights of two objectives, written and loaded."""
    setattr(model.config, OBJECTIVES, ["a", "b"])
    model.save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    return steerable.load(tmp_path)


def test_the_text_depends_on_names_and_proportions_alone() -> None:
    assert weights_text({"b": 2.0, "c": 0.0, "a": 1.0}, ["a", "b", "c"]) == "360"
    assert weights_text({"a": 0.1, "b": 0.2}, ["a", "b", "c"]) == "360"
    assert weights_text({"c": 0.5}, ["a", "b", "c"]) == "009"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_answers_are_those_to_the_longer_prompts(
    model: Any, tiny_tokenizer: Any, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With padding, with a cache, and with rows that leave the batch."""
    draws = np.random.default_rng(0).random((len(PROMPTS), 12))
    monkeypatch.setattr(sample, "_uniforms", lambda *_: draws)
    one, other = (
        sample.sample_ids(
            policy, tiny_tokenizer, prompts, max_new_tokens=12, temperature=temperature
        )
        for policy, prompts in (
            (PrefixedModel(model, PREFIX), PROMPTS),
            (model, [PREFIX + prompt for prompt in PROMPTS]),
        )
    )
    assert one == other
    assert one != sample.sample_ids(
        model, tiny_tokenizer, PROMPTS, max_new_tokens=12, temperature=temperature
    )


def test_a_prompt_leaves_room_for_the_prefix(model: Any) -> None:
    longest = model.config.max_position_embeddings
    assert PrefixedModel(model, PREFIX).config.max_position_embeddings == longest - 3
    assert model.config.max_position_embeddings == longest


@torch.no_grad()
def test_the_reference_does_not_see_the_prefix(model: Any) -> None:
    response = [60, 61]
    expected = 0.0
    for end in range(len(response)):
        ids = PROMPTS[0] + response[:end]
        one, two = (
            model(input_ids=torch.tensor([row])).logits[0, -1].double().log_softmax(-1)
            for row in (PREFIX + ids, ids)
        )
        expected += float((one.exp() * (one - two)).sum())
    prefixed = PrefixedModel(model, PREFIX)
    assert compare(prefixed, model, PROMPTS[:1], [response], 0).kl[0] == pytest.approx(
        expected, rel=1e-3
    )
    assert expected > 1e-3
    empty = PrefixedModel(model, [])
    assert compare(empty, model, PROMPTS[:1], [response], 0).kl[0] == pytest.approx(0, abs=1e-6)


def test_a_policy_that_reads_weights_is_steered(policy: Any, tiny_tokenizer: Any) -> None:
    """The likelihood at each point is that after the text of its weights."""
    assert isinstance(policy, steerable.Steerable)
    steered = Steered(policy, policy.model, tiny_tokenizer, Sampling(5, 1.0, 2, 128, seed=1))
    assert steered.heads == ["a", "b"]
    messages, points = [[{"role": "user", "content": "Hello?"}]], [{"a": 1.0}, {"a": 1.0, "b": 2.0}]
    logprobs, kl, _ = steered.likelihood(messages, ["No"], points)
    ids, start = encode(tiny_tokenizer, messages[0], "No", 128)
    for row, text in enumerate(("90", "36")):
        prefix = tiny_tokenizer(text, add_special_tokens=False)["input_ids"]
        batch = torch.tensor([[*prefix, *ids]])
        answer = torch.tensor([len(ids) - start])
        with torch.no_grad():
            expected = sample.answer_logprobs(policy.model, batch, torch.ones_like(batch), answer)
        assert logprobs[row, 0] == pytest.approx(float(expected), rel=1e-4)
    assert kl.min() > 0
    assert logprobs[0, 0] != pytest.approx(logprobs[1, 0], rel=1e-3)


def test_it_cannot_be_scaled_or_written(policy: Any, tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="has no strength; set it to 1"):
        policy.merge({"a": 1.0, "b": 1.0}, 0.5)
    with pytest.raises(ParamsError, match="give one weight per head"):
        policy.merge({"a": 1.0})
    with pytest.raises(ModelError, match="a PrefixedModel cannot be written to"):
        policy.merge({"a": 1.0, "b": 1.0}).save_pretrained(tmp_path / "other")
