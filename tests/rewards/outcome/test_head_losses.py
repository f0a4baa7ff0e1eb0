"""The label losses, compared with values computed by hand and with each other."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, tensor

from concord.rewards.outcome.head_losses import ascending, grade, order

SCORES = st.floats(-8, 8)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def graded(scores: list[float], levels: list[int], thresholds: list[float]) -> Tensor:
    return grade(tensor(scores), tensor(levels), tensor([thresholds] * len(scores)))


def test_a_margin_raises_the_loss_of_a_comparison() -> None:
    """s_a - s_b = 1: without margin -log sigmoid(1) = 0.3133, with margin 1 -log sigmoid(0)."""
    result = order(tensor([[1.5, 0.5], [1.5, 0.5 + 1.0]]), tensor([[1, 2], [1, 2]]))
    assert result.tolist() == pytest.approx([0.313262, math.log(2)], abs=1e-6)


def test_a_ranking_is_a_sequence_of_choices() -> None:
    """Scores log 1, log 2, log 3, ranks 3, 2, 1: 3/6 * 2/3 * 1/1 = 1/3; ties: 1/3 three times."""
    scores = torch.log(tensor([[1.0, 2.0, 3.0]]))
    assert order(scores, tensor([[3, 2, 1]])).item() == pytest.approx(math.log(3), abs=1e-6)
    assert order(torch.zeros(1, 3), tensor([[1, 1, 1]])).item() == pytest.approx(
        3 * math.log(3), abs=1e-6
    )


@given(one=SCORES, other=SCORES)
def test_a_ranking_of_two_is_bradley_terry(one: float, other: float) -> None:
    result = order(tensor([[one, other, 99.0]]), tensor([[1, 2, 0]]))
    assert result.item() == pytest.approx(-math.log(sigmoid(one - other)), abs=1e-4)


def test_padding_has_no_gradient() -> None:
    scores = tensor([[0.5, -0.5, 3.0]], requires_grad=True)
    order(scores, tensor([[2, 1, 0]])).sum().backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    assert scores.grad[0, 2] == 0
    assert scores.grad[0, 0] > 0 > scores.grad[0, 1]


@given(score=SCORES, start=st.floats(-4, 4), steps=st.lists(st.floats(0.1, 3), max_size=4))
def test_the_probabilities_of_the_levels_sum_to_one(
    score: float, start: float, steps: list[float]
) -> None:
    thresholds = tensor([start, *steps]).cumsum(0).tolist()
    count = len(thresholds) + 1
    assert torch.exp(
        -graded([score] * count, list(range(count)), thresholds)
    ).sum().item() == pytest.approx(1, abs=1e-4)


def test_a_rating_is_the_gap_between_two_thresholds() -> None:
    """s = .5, thresholds -1 and 1: sigmoid(-1.5), sigmoid(1.5) - sigmoid(-.5), sigmoid(-.5)."""
    result = torch.exp(-graded([0.5] * 3, [0, 1, 2], [-1.0, 1.0]))
    assert result.tolist() == pytest.approx(
        [sigmoid(-1.5), sigmoid(1.5) - sigmoid(-0.5), sigmoid(-0.5)], abs=1e-6
    )


def test_two_levels_are_logistic_even_with_padded_thresholds() -> None:
    wanted = [-math.log(sigmoid(0.7)), -math.log(sigmoid(-0.7))]
    assert graded([0.3, 0.3], [1, 0], [-0.4]).tolist() == pytest.approx(wanted, abs=1e-6)
    assert graded([0.3, 0.3], [1, 0], [-0.4, math.inf]).tolist() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("score", [-80.0, 0.0, 80.0])
def test_extreme_scores_have_finite_losses_and_gradients(score: float) -> None:
    scores = torch.full((3,), score, requires_grad=True)
    free = tensor([[-1.0, 2.0, 0.0]], requires_grad=True)
    thresholds = ascending(free).masked_fill(tensor([[False, False, True]]), torch.inf).expand(3, 3)
    losses = grade(scores, tensor([0, 1, 2]), thresholds)
    losses.sum().backward()
    assert losses.isfinite().all()
    for gradient in (scores.grad, free.grad):
        assert gradient is not None
        assert gradient.isfinite().all()


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=5))
def test_thresholds_are_always_ascending(free: list[float]) -> None:
    thresholds = ascending(tensor([free]))[0].tolist()
    assert thresholds[0] == pytest.approx(free[0], abs=1e-5)
    assert all(low <= high for low, high in itertools.pairwise(thresholds))
