"""Advantages per stream, their sum, and the explained variance of the critic."""

import math

import pytest
import torch

from concord.policies.ppo.gae import EPSILON, explained_variance, gae, sum_then_normalize


def random_streams() -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards and values of 3 answers, 5 tokens and 2 streams."""
    generator = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 3, 5, 2, generator=generator, dtype=torch.float64)
    return rewards, values


@pytest.mark.parametrize(("gamma", "gae_lambda"), [(1.0, 0.95), (0.9, 0.5), (0.8, 0.0), (0.9, 1.0)])
def test_gae_equals_the_direct_sum(gamma: float, gae_lambda: float) -> None:
    """A_t = sum_k (gamma lambda)^k delta_{t+k}, in O(T^2)."""
    rewards, values = random_streams()
    following = torch.cat([values[:, 1:], torch.zeros(3, 1, 2)], dim=1)
    delta = rewards + gamma * following - values
    expected = torch.stack(
        [sum((gamma * gae_lambda) ** k * delta[:, t + k] for k in range(5 - t)) for t in range(5)],
        dim=1,
    )
    torch.testing.assert_close(gae(rewards, values, gamma, gae_lambda), expected)


def test_without_discount_and_bootstrapping_only_rewards_count() -> None:
    """lambda = gamma = 1: A_t = (rewards from t on) - V_t, whatever the other values are."""
    rewards, values = random_streams()
    to_go = rewards.flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(gae(rewards, values, 1.0, 1.0), to_go - values)


def test_the_weighted_sum_of_streams_is_a_scalar_gae() -> None:
    """GAE is linear: a vector critic has the advantages of the scalar critic sum_i w_i V_i."""
    rewards, values = random_streams()
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    scalar = gae((rewards @ weights)[..., None], (values @ weights)[..., None], 0.9, 0.5)
    torch.testing.assert_close(gae(rewards, values, 0.9, 0.5) @ weights, scalar[..., 0])


def test_padding_on_the_left_changes_nothing() -> None:
    rewards, values = random_streams()
    padded = [torch.cat([torch.full((3, 2, 2), 9.0), part], dim=1) for part in (rewards, values)]
    torch.testing.assert_close(gae(*padded, 0.9, 0.5)[:, 2:], gae(rewards, values, 0.9, 0.5))


def test_advantages_are_summed_then_normalised_over_the_marked_tokens() -> None:
    """By hand. Row 1 uses stream 1 only, row 2 both at one half: the sums are 1, 3 and 2.

    Their mean is 2 and their standard deviation 1. The first token of row 1 is not marked.
    """
    advantages = torch.tensor([[[99.0, 9.0], [1.0, 9.0]], [[2.0, 4.0], [0.0, 4.0]]])
    weights = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    answer = torch.tensor([[False, True], [True, True]])
    expected = torch.tensor([[0.0, -1.0], [1.0, 0.0]]) / (1 + EPSILON)
    torch.testing.assert_close(sum_then_normalize(advantages, weights, answer), expected)


def test_too_few_tokens_have_no_advantage() -> None:
    """A batch without finished answers, or with one token, has nothing to compare."""
    one = torch.ones(1, 1, 1), torch.ones(1, 1)
    for marked in (False, True):
        assert sum_then_normalize(*one, torch.tensor([[marked]])).tolist() == [[0.0]]


def test_explained_variance() -> None:
    returns = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert explained_variance(returns, returns) == 1.0
    assert explained_variance(torch.full((4,), 7.0), returns) == 0.0
    assert explained_variance(2 * returns, returns) == pytest.approx(0.0)
    assert explained_variance(-returns, returns) == pytest.approx(-3.0)
    assert math.isnan(explained_variance(returns, torch.tensor([1.0, 1.0, 1.0, 1.0 + 1e-6])))
