"""KL on sampled tokens: equal to the definition, in any batches, and an unbiased estimate."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from concord.lm import divergence, sample
from concord.lm.load import load_causal
from concord.lm.sample import sample_batches, sample_ids

PROMPTS = [[20, 21, 22], [30], [40, 41, 42, 43, 44, 45]]
RESPONSES = [[50, 51], [60, 61, 62, 63], [70]]


@pytest.fixture
def models(tiny_model: Path) -> tuple[Any, Any]:
    """A policy and a reference that differ."""
    policy, reference = load_causal(tiny_model).eval(), load_causal(tiny_model).eval()
    with torch.no_grad():
        policy.model.norm.weight += 2.0
        policy.model.layers[1].mlp.down_proj.weight *= -3.0
    return policy, reference


def by_definition(policy: Any, reference: Any, prompt: list[int], response: list[int]) -> float:
    """A forward pass per sampled token, without padding."""
    total = 0.0
    for end in range(len(response)):
        ids = torch.tensor([prompt + response[:end]])
        with torch.no_grad():
            one, two = (
                model(ids).logits[0, -1].double().log_softmax(-1) for model in (policy, reference)
            )
        total += float((one.exp() * (one - two)).sum())
    return total


@pytest.mark.parametrize("logits", [1, 500, 2**20])
def test_equal_to_the_definition_in_batches_of_any_size(
    models: tuple[Any, Any], logits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(divergence, "LOGITS", logits)
    values = divergence.compare(*models, PROMPTS, RESPONSES, pad=0).kl
    expected = [by_definition(*models, *row) for row in zip(PROMPTS, RESPONSES, strict=True)]
    assert values == pytest.approx(expected, rel=1e-4)
    assert values.min() > 0.01


def test_logits_kept_while_sampling_give_the_same(
    models: tuple[Any, Any], tiny_tokenizer: Any
) -> None:
    """The policy is not run again. A batch with too many logits has none."""
    policy, reference = models
    parts: list[tuple[list[int], list[list[int]], torch.Tensor]] = []

    def keep(rows: list[int], responses: list[list[int]], logits: torch.Tensor | None) -> None:
        assert logits is not None
        parts.append((rows, responses, logits))

    settings = {"max_new_tokens": 6, "batch_size": 2, "label": None}
    ids = sample_ids(policy, tiny_tokenizer, PROMPTS, **settings)
    list(sample_batches(policy, tiny_tokenizer, PROMPTS, observe=keep, **settings))
    expected = divergence.compare(policy, reference, PROMPTS, ids, 0)
    policy.forward = None  # must not be called
    assert sorted(row for rows, _, _ in parts for row in rows) == [0, 1, 2]
    for rows, responses, logits in parts:
        assert responses == [ids[row] for row in rows]
        of_tokens = [each[: len(ids[row])] for each, row in zip(logits, rows, strict=True)]
        prompts = [PROMPTS[row] for row in rows]
        values = divergence.compare(policy, reference, prompts, responses, 0, of_tokens)
        for one, other in zip(values, expected, strict=True):
            assert one == pytest.approx(other[rows], rel=1e-4)


def test_too_many_logits_are_not_kept(
    models: tuple[Any, Any], tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "KEPT", 3 * 4 * 102 - 1)
    kept: list[torch.Tensor | None] = []
    observe = lambda rows, responses, logits: kept.append(logits)  # noqa: E731
    settings = {"max_new_tokens": 4, "label": None}
    list(sample_batches(models[0], tiny_tokenizer, PROMPTS, observe=observe, **settings))
    assert kept == [None]


def test_zero_between_equal_models_and_for_empty_responses(models: tuple[Any, Any]) -> None:
    policy, reference = models
    assert np.abs(divergence.compare(policy, policy, PROMPTS, RESPONSES, 0).kl).max() < 1e-5
    assert divergence.compare(policy, reference, PROMPTS[:1], [[]], 0).kl.tolist() == [0.0]


def test_the_mean_is_that_of_the_log_ratios_with_less_variance(
    models: tuple[Any, Any], tiny_tokenizer: Any
) -> None:
    """Both are unbiased for the KL of the response distributions."""
    policy, reference = models
    prompts = PROMPTS[:1] * 400
    ids = sample_ids(policy, tiny_tokenizer, prompts, max_new_tokens=4, label=None)
    exact = divergence.compare(policy, reference, prompts, ids, 0).kl
    ratios = []
    for row in ids:
        with torch.no_grad():
            whole = torch.tensor([PROMPTS[0] + row])
            one, two = (
                m(whole).logits[0, len(PROMPTS[0]) - 1 : -1].log_softmax(-1) for m in models
            )
        drawn = torch.tensor(row)[:, None]
        ratios.append(float((one - two).gather(1, drawn).sum()))
    assert exact.mean() == pytest.approx(np.mean(ratios), abs=3 * np.std(ratios) / 20)
    assert exact.std() < 0.7 * np.std(ratios)
