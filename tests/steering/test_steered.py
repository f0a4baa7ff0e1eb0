"""Samples, log-ratios and likelihoods of a steered policy equal those of the merged policy."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from concord.lm import sample as generate
from concord.lm.load import load_causal
from concord.policies.model import MultiHeadCausalLM
from concord.steering.steered import Sampling, Steered

MESSAGES = [
    [{"role": "user", "content": text}] for text in ("Hello?", "What is 2 + 2, and why?", "Hi")
]
RESPONSES = ["Four.", "It is four because it is.", "No"]
SAMPLING = Sampling(max_new_tokens=5, temperature=1.0, batch_size=2, max_length=128, seed=1)


@pytest.fixture
def policy(tiny_model: Path) -> MultiHeadCausalLM:
    """A policy with two heads; the second differs strongly from the first."""
    model = MultiHeadCausalLM.from_sft(tiny_model, ["a", "b"])
    with torch.no_grad():
        model.heads[1] += 0.5 * torch.randn(
            model.heads[1].shape, generator=torch.Generator().manual_seed(0)
        )
    return model


@pytest.fixture
def steered(policy: MultiHeadCausalLM, tiny_model: Path, tiny_tokenizer: Any) -> Steered:
    return Steered(policy, load_causal(tiny_model), tiny_tokenizer, SAMPLING)


def test_the_likelihood_equals_that_of_the_merged_model(
    steered: Steered, policy: MultiHeadCausalLM
) -> None:
    """The log-probabilities at each point equal those of the model merged at its weights."""
    points = [{"a": 1.0}, {"a": 0.3, "b": 0.7}, {"b": 1.0}]
    summed, kl, lengths = steered.likelihood(MESSAGES, RESPONSES, points)
    assert lengths.tolist() == [len(text) + 1 for text in RESPONSES]
    assert (kl >= -1e-5).all()
    for weights, logprobs in zip(points, summed, strict=True):
        merged = policy.merge({"a": weights.get("a", 0.0), "b": weights.get("b", 0.0)})
        expected = generate.logprobs(merged, steered.tokenizer, MESSAGES, RESPONSES, max_length=128)
        assert logprobs == pytest.approx(expected, abs=1e-3)


def test_the_likelihood_of_a_policy_with_adapters_equals_that_of_the_merged_model(
    tiny_model: Path, tiny_tokenizer: Any
) -> None:
    deep = MultiHeadCausalLM.from_sft(tiny_model, ["a", "b"], adapter_rank=2)
    with torch.no_grad():
        for parameter in deep.head_parameters():
            parameter += 0.1 * torch.randn(
                parameter.shape, generator=torch.Generator().manual_seed(3)
            )
    sampling = Sampling(8, 1.0, 4, 64, 0)
    steered = Steered(deep, load_causal(tiny_model), tiny_tokenizer, sampling)
    messages, answers = [[{"role": "user", "content": "abc"}]] * 2, ["xyz", "hello"]
    points = [{"a": 1.0}, {"a": 0.25, "b": 0.75}]
    logprobs, kl, _ = steered.likelihood(messages, answers, points)
    assert kl.min() > 0
    for point, row in zip(points, logprobs, strict=True):
        merged = deep.merge({"b": 0.0, **point})
        alone = Steered(merged, load_causal(tiny_model), tiny_tokenizer, sampling)
        np.testing.assert_allclose(row, alone.likelihood(messages, answers, [{}])[0][0], atol=1e-4)


def test_likelihood_of_several_answers_to_one_prompt(
    steered: Steered, policy: MultiHeadCausalLM
) -> None:
    """One prompt has more answers than fit in a batch, and one answer is empty."""
    messages = [MESSAGES[1]] * 4 + MESSAGES[:1]
    responses = ["Four.", "", "It is four because it is.", "No", "Hello."]
    logprobs = steered.likelihood(messages, responses, [{"b": 1.0}])[0][0]
    expected = generate.logprobs(
        policy.merge({"a": 0.0, "b": 1.0}), steered.tokenizer, messages, responses, max_length=128
    )
    assert logprobs == pytest.approx(expected, abs=1e-3)


def test_a_long_prompt_is_truncated_equally_for_all_its_answers(
    steered: Steered, policy: MultiHeadCausalLM
) -> None:
    """The short answer is scored with the part of the prompt that fits beside the long answer."""
    messages, long = [{"role": "user", "content": "many words " * 20}], "and more " * 5
    narrow = Steered(
        policy, steered.reference, steered.tokenizer, replace(SAMPLING, max_length=100)
    )
    alone, beside = (
        narrow.likelihood([messages] * len(texts), texts, [{"b": 1.0}])[0][0]
        for texts in (["No"], ["No", long])
    )
    merged = policy.merge({"a": 0.0, "b": 1.0})
    assert alone[0] == pytest.approx(
        generate.logprobs(merged, narrow.tokenizer, [messages], ["No"], max_length=100)[0], abs=1e-3
    )
    room = 100 - len(long) - 1  # one token per character, and the end of sequence
    expected = generate.logprobs(
        merged, narrow.tokenizer, [messages], ["No"], max_length=room + len("No") + 1
    )
    assert beside[0] == pytest.approx(expected[0], abs=1e-3)


def test_the_likelihood_does_not_depend_on_block_size_or_order(
    steered: Steered, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [{"a": 1.0}, {"a": 0.3, "b": 0.7}, {"b": 1.0}]
    whole = steered.likelihood(MESSAGES, RESPONSES, points)
    monkeypatch.setattr("concord.steering.steered.POSITIONS_AT_ONCE", 7)
    reversed_ = steered.likelihood(MESSAGES[::-1], RESPONSES[::-1], points)
    for one, other in zip(whole, reversed_, strict=True):
        assert one == pytest.approx(other[..., ::-1], abs=1e-3)


def test_kl_is_zero_only_at_the_reference(steered: Steered) -> None:
    kl = steered.likelihood(MESSAGES, RESPONSES, [{"a": 1.0}, {"b": 1.0}])[1]
    assert np.abs(kl[0]).max() < 1e-4
    assert kl[1].min() > 0.1


def test_answers_are_the_samples_with_their_kl(steered: Steered) -> None:
    """Lengths are those of the sampled tokens: five, unless the end was sampled earlier."""
    same, other = (steered.answers(MESSAGES, {name: 1.0}) for name in ("a", "b"))
    assert same.texts == steered.sample(MESSAGES, {"a": 1.0})
    assert other.texts == steered.sample(MESSAGES, {"b": 1.0})
    assert np.abs(same.kl).max() < 1e-4
    assert other.kl.min() > 0.01
    assert set(other.lengths) <= {1, 2, 3, 4, 5}


def test_weights_change_only_the_samples_of_a_multi_head_policy(
    steered: Steered, tiny_model: Path, tiny_tokenizer: Any
) -> None:
    assert steered.sample(MESSAGES, {"a": 1.0}) == steered.sample(MESSAGES, {"a": 1.0, "b": 0.0})
    assert steered.sample(MESSAGES, {"a": 1.0}) != steered.sample(MESSAGES, {"b": 1.0})
    stock = Steered(load_causal(tiny_model), load_causal(tiny_model), tiny_tokenizer, SAMPLING)
    assert stock.heads is None
    assert stock.sample(MESSAGES, {"a": 1.0}) == stock.sample(MESSAGES, {"b": 1.0})
    assert stock.sample(MESSAGES, {}) == steered.sample(MESSAGES, {"a": 1.0})
    assert np.abs(stock.likelihood(MESSAGES, RESPONSES, [{"a": 1.0}])[1]).max() < 1e-6
