"""The base model: lossless tokenizer, seeded training, and the checkpoint in git."""

import itertools
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from concord.sandbox import base, corpus

BASE = Path("models/base")


@pytest.fixture(scope="module")
def words():
    return AutoTokenizer.from_pretrained(BASE)


def test_digits_are_single_tokens_and_text_survives(words):
    ids = words("12+345=357\n\n\\boxed{357}", add_special_tokens=False)["input_ids"]
    digits = [
        token for token in words.convert_ids_to_tokens(ids) if any(c.isdigit() for c in token)
    ]
    assert digits == list("12345357357")
    for messages, response in itertools.islice(corpus.documents(7), 300):
        for text in (messages[-1]["content"], response):
            assert words.decode(words(text, add_special_tokens=False)["input_ids"]) == text


def test_any_text_can_be_encoded(words):
    text = "Größe 漢字 🙂\t\x00"
    assert words.decode(words(text, add_special_tokens=False)["input_ids"]) == text


def test_building_the_network_does_not_use_the_global_generator():
    state = torch.random.get_rng_state()
    first, second = (base.network(300, 0, 1, seed=5) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )


def test_the_checkpoint_in_git_is_documented():
    model = AutoModelForCausalLM.from_pretrained(BASE)
    figures = json.loads((BASE / "figures.json").read_text())
    assert model.num_parameters() == figures["parameters"] < 1_200_000
    assert sum(file.stat().st_size for file in BASE.iterdir()) < 5_000_000


def test_training_lowers_the_loss(words, monkeypatch):
    """On eight rows per step."""
    batches = base.batches
    monkeypatch.setattr(base, "batches", lambda *args: (rows[:8] for rows in batches(*args)))
    model = base.network(len(words), words.pad_token_id, words.eos_token_id, seed=0)
    state = model.state_dict()["model.embed_tokens.weight"].clone()
    first = base.train(model, words, steps=1, seed=0)
    later = base.train(model, words, steps=12, seed=0)
    assert later < first
    assert not torch.equal(state, model.state_dict()["model.embed_tokens.weight"])
