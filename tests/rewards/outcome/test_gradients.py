"""Cosines between gradients: 1 for identical objectives, near -1 for opposite ones."""

import copy
import itertools
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
        ]  # The heads are equal, so only the pairs differ.
    return model


def test_identical_and_opposite_objectives(model):
    result = cosines(
        model, {"a": (ONE, OTHER), "b": (ONE[::-1], OTHER[::-1]), "c": (OTHER, ONE)}, 0
    )
    assert result["a"]["b"] == pytest.approx(1.0, abs=1e-5)
    assert result["a"]["c"] < -0.9
    assert result["c"]["b"] == pytest.approx(result["b"]["c"])


def test_objectives_without_pairs_are_left_out_and_no_gradients_remain(model):
    assert set(cosines(model, {"a": (ONE, OTHER), "b": ([], []), "c": (OTHER, ONE)}, 0)) == {
        "a",
        "c",
    }
    assert all(value.grad is None for value in model.parameters())


def test_each_objective_has_its_own_backward_pass(model):
    """Equal to cosines of gradients from separate models. After one summed pass all would be 1."""
    pairs = {"a": (ONE, OTHER), "b": (OTHER[:2], ONE[1:]), "c": ([[5, 5]], [[6, 8, 8]])}
    gradients = {}
    for head, (name, (chosen, rejected)) in enumerate(pairs.items()):
        alone = copy.deepcopy(model)
        margins = [
            alone(torch.tensor([won])).logits[0, head] - alone(torch.tensor([lost])).logits[0, head]
            for won, lost in zip(chosen, rejected, strict=True)
        ]
        (-torch.nn.functional.logsigmoid(torch.stack(margins)).mean()).backward()
        layer = alone.model.layers[-1].parameters()
        gradients[name] = torch.cat([value.grad.flatten() for value in layer])
    result = cosines(model, pairs, 0)
    for one, other in itertools.permutations(pairs, 2):
        expected = torch.cosine_similarity(gradients[one], gradients[other], dim=0).item()
        assert result[one][other] == pytest.approx(expected, abs=1e-4)
        assert expected < 0.95
