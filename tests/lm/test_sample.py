"""Sampling (determinism, end of sequence, distribution) and log-probabilities."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from concord.lm.chat import encode, render
from concord.lm.load import load_causal
from concord.lm.sample import logprobs, sample, sample_ids
from concord.policies.model import MultiHeadCausalLM
from concord.stage.errors import DataError

PROMPTS = [
    [{"role": "user", "content": text}]
    for text in ("one", "a longer prompt, 2", "3 4", "x", "one", "yes or no?")
]


@pytest.fixture
def model(tiny_model: Path) -> Any:
    """A model with sharp distributions, whose samples usually end within 20 tokens."""
    stock = load_causal(tiny_model)
    with torch.no_grad():
        stock.model.embed_tokens.weight.mul_(20)
    return stock


def draw(model: Any, tokenizer: Any, messages: Any = None, **changes: Any) -> list[str]:
    arguments = {"max_new_tokens": 20, "seed": 0, "batch_size": 32, **changes}
    return sample(model, tokenizer, PROMPTS if messages is None else messages, **arguments)


def ends(model: Any, after: int) -> None:
    """Makes the model end every row after `after` tokens, and never before."""
    forward = model.forward

    def forced(**kwargs: Any) -> Any:
        out = forward(**kwargs)
        due = kwargs["position_ids"][:, -1] + 1 >= after
        out.logits[:, -1, 1] = torch.where(due, 1e4, -1e4)
        return out

    model.forward = forced


def test_samples_depend_only_on_seed_and_prompt(model: Any, tiny_tokenizer: Any) -> None:
    """Not on batch size, order or other prompts. Global generators are neither used nor changed."""
    before, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    together = draw(model, tiny_tokenizer)
    assert draw(model, tiny_tokenizer, batch_size=1) == together
    assert draw(model, tiny_tokenizer, PROMPTS[1:4]) == together[1:4]
    assert draw(model, tiny_tokenizer, seed=1) != together
    assert torch.equal(before, torch.get_rng_state())
    assert (np.random.get_state()[1] == numbers).all()


def test_a_repeated_prompt_gets_a_different_sample(model: Any, tiny_tokenizer: Any) -> None:
    """Rows 0 and 4 have the same prompt; its first occurrence always gets the same sample."""
    together = draw(model, tiny_tokenizer, temperature=3.0)
    assert together[0] != together[4]
    assert draw(model, tiny_tokenizer, [PROMPTS[3], PROMPTS[4]], temperature=3.0)[1] == together[0]


def test_greedy_decoding_equals_transformers(model: Any, tiny_tokenizer: Any) -> None:
    for prompt, answer in zip(PROMPTS, draw(model, tiny_tokenizer, temperature=0), strict=True):
        ids = torch.tensor([render(tiny_tokenizer, prompt)])
        expected = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False
        )
        assert answer == tiny_tokenizer.decode(
            expected[0, ids.shape[1] :], skip_special_tokens=True
        )


def test_rows_end_at_end_of_sequence(model: Any, tiny_tokenizer: Any) -> None:
    """All rows end at the same position, so each has a different number of tokens."""
    prompts = [render(tiny_tokenizer, messages) for messages in PROMPTS]
    ends(model, 24)
    answers = sample_ids(model, tiny_tokenizer, prompts, max_new_tokens=40)
    for prompt, answer in zip(prompts, answers, strict=True):
        assert len(prompt) + len(answer) == max(25, len(prompt) + 1)
        assert answer.index(tiny_tokenizer.eos_token_id) == len(answer) - 1
    cut = sample_ids(model, tiny_tokenizer, prompts[:1], max_new_tokens=3)
    assert len(cut[0]) == 3
    assert tiny_tokenizer.eos_token_id not in cut[0]


def test_samples_follow_the_distribution(tiny_model: Path, tiny_tokenizer: Any) -> None:
    """2,000 first tokens of 102: chi-squared is within 5 standard deviations of its mean 101."""
    model = load_causal(tiny_model)
    model.model.embed_tokens.weight.data.mul_(3)
    prompt = render(tiny_tokenizer, PROMPTS[0])
    for temperature in (1.0, 2.0):
        with torch.no_grad():
            expected = (model(torch.tensor([prompt])).logits[0, -1] / temperature).double().softmax(
                -1
            ).numpy() * 2000
        drawn = sample_ids(
            model,
            tiny_tokenizer,
            [prompt] * 2000,
            max_new_tokens=1,
            temperature=temperature,
            batch_size=2000,
        )
        counts = np.bincount([row[0] for row in drawn], minlength=102)
        assert abs(((counts - expected) ** 2 / expected).sum() - 101) < 5 * (2 * 101) ** 0.5


def test_a_long_prompt_is_truncated_on_the_left(model: Any, tiny_tokenizer: Any) -> None:
    """256 positions, 20 of them for the response: only the last 236 prompt tokens are used."""
    prompt = list(range(10, 90)) * 4
    arguments = {"max_new_tokens": 20, "temperature": 0}
    assert sample_ids(model, tiny_tokenizer, [prompt], **arguments) == sample_ids(
        model, tiny_tokenizer, [prompt[-236:]], **arguments
    )
    with pytest.raises(DataError, match="max_new_tokens 256 leaves no room"):
        draw(model, tiny_tokenizer, max_new_tokens=256)


def test_sampling_restores_the_mode_of_the_model(model: Any, tiny_tokenizer: Any) -> None:
    model.train()
    draw(model, tiny_tokenizer)
    assert model.training


def test_heads_are_mixed_while_sampling(tiny_model: Path, tiny_tokenizer: Any) -> None:
    heads = MultiHeadCausalLM.from_sft(tiny_model, ["a", "b"])
    heads.heads.data[0] *= 30
    heads.heads.data[1] *= -30
    weights = {"a": 0.9, "b": 0.1}
    mixed = draw(heads, tiny_tokenizer, head_weights=weights)
    assert mixed == draw(heads.merge(weights), tiny_tokenizer)
    assert mixed != draw(heads, tiny_tokenizer, head_weights={"a": 0.1, "b": 0.9})


def test_logprobs(tiny_model: Path, tiny_tokenizer: Any) -> None:
    """The sum or mean over the response tokens and the end of sequence, for any batch size."""
    model, responses = load_causal(tiny_model), ["ab", "", "something longer", "z", "ab", "."]
    expected = []
    for prompt, response in zip(PROMPTS, responses, strict=True):
        ids, start = encode(tiny_tokenizer, prompt, response, 128)
        with torch.no_grad():
            table = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        expected.append(sum(float(table[t - 1, ids[t]]) for t in range(start, len(ids))))
    for batch_size in (1, 6):
        scores = logprobs(
            model, tiny_tokenizer, PROMPTS, responses, max_length=128, batch_size=batch_size
        )
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, expected, atol=1e-4)
    means = logprobs(model, tiny_tokenizer, PROMPTS, responses, max_length=128, per_token=True)
    np.testing.assert_allclose(means, np.array(expected) / [3, 1, 17, 2, 3, 2], atol=1e-4)


def test_logprobs_of_a_bfloat16_model_are_summed_in_float32(
    tiny_model: Path, tiny_tokenizer: Any
) -> None:
    """A sum of about -900 has a resolution of 4 nats in bfloat16; here it is exact to 1e-3."""
    model, response = load_causal(tiny_model, dtype="bfloat16"), "abcdefghij" * 20
    ids, start = encode(tiny_tokenizer, PROMPTS[0], response, 256)
    with torch.no_grad():
        table = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    exact = sum(float(table[t - 1, ids[t]]) for t in range(start, len(ids)))
    (total,) = logprobs(model, tiny_tokenizer, PROMPTS[:1], [response], max_length=256)
    assert total == pytest.approx(exact, abs=1e-3)
    assert abs(float(torch.tensor(exact).bfloat16()) - exact) > 0.1
