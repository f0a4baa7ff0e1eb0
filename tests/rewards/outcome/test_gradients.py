"""Cosines between the gradients of objectives: 1 where they ask the same, -1 where they ask the opposite."""

from pathlib import Path

import pytest
import torch

from concord.lm.load import load_tokenizer
from concord.rewards.outcome.gradients import cosines
from concord.rewards.outcome.reward_model import new_model

ONE, OTHER = [[5, 6, 7], [8, 9], [5, 9, 9, 9]], [[7, 7], [6, 5, 8], [9, 6]]


@pytest.fixture
def model(tiny_model: Path):
    model = new_model(tiny_model, ["a", "b", "c"], load_tokenizer(tiny_model), "cpu", "float32", 0)
    with torch.no_grad():
        model.score.weight[1:] = model.score.weight[
            0
        ]  # the heads are one head, so what they ask is all that differs
    return model


def test_the_same_and_the_opposite(model):
    found = cosines(model, {"a": (ONE, OTHER), "b": (ONE[::-1], OTHER[::-1]), "c": (OTHER, ONE)}, 0)
    assert found["a"]["b"] == pytest.approx(1.0, abs=1e-5)
    assert found["a"]["c"] < -0.9
    assert found["c"]["b"] == pytest.approx(found["b"]["c"])


def test_an_objective_without_pairs_is_left_out_and_nothing_is_left_behind(model):
    assert set(cosines(model, {"a": (ONE, OTHER), "b": ([], []), "c": (OTHER, ONE)}, 0)) == {
        "a",
        "c",
    }
    assert all(value.grad is None for value in model.parameters())
