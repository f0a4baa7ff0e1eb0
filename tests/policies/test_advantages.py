"""Advantages: values computed by hand, and the effect of the order of summing and normalising."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.policies.advantages import leave_one_out, normalize_then_sum, sum_then_normalize
from concord.policies.rl import groups
from concord.policies.rl.groups import EPSILON, normalise

NAN = float("nan")
Aggregation = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
BOTH: list[Aggregation] = [sum_then_normalize, normalize_then_sum]
ALL = [*BOTH, leave_one_out]


def of(
    rewards: list[list[float]], weights: list[float], generations: int, aggregation: Aggregation
) -> list[float]:
    return [*aggregation(np.array(rewards), np.array([weights] * len(rewards)), generations)]


def test_normalise_by_hand() -> None:
    """Group (1, 3) has mean 2 and standard deviation sqrt(2); group (5, 5) is constant."""
    high = 1 / (2**0.5 + EPSILON)
    np.testing.assert_allclose(
        normalise(np.array([[1.0], [3.0], [5.0], [5.0]]), 2)[:, 0], [-high, high, 0.0, 0.0]
    )


def test_sum_then_normalise_by_hand() -> None:
    """The weighted sums are 0 and 5: deviations -2.5 and 2.5, divided by 3.5355."""
    np.testing.assert_allclose(
        of([[0, 0], [10, 0]], [0.5, 0.5], 2, sum_then_normalize), [-0.7071, 0.7071], atol=1e-4
    )


def test_normalise_then_sum_by_hand() -> None:
    """The first reward gives -.7071 and .7071, the constant second gives 0; the mean is half."""
    advantages = of([[0, 3], [10, 3]], [0.5, 0.5], 2, normalize_then_sum)
    np.testing.assert_allclose(advantages, [-0.35355, 0.35355], atol=1e-4)


def test_a_large_scale_dominates_unless_rewards_are_normalised_first() -> None:
    """In the sums of (0, 1), (0, 0), (100, 0), (100, 1), the second reward hardly matters."""
    rewards = [[0.0, 1.0], [0.0, 0.0], [100.0, 0.0], [100.0, 1.0]]
    summed, normalised = (of(rewards, [0.5, 0.5], 4, aggregation) for aggregation in BOTH)
    assert summed[3] - summed[2] < 0.02
    assert normalised[3] - normalised[2] == pytest.approx(0.5 / (1 / 3) ** 0.5, abs=1e-3)


def test_a_group_of_equal_sums_keeps_its_signal() -> None:
    """All sums are 1, but the rewards differ with unequal spread; the group is not filtered out."""
    rewards = [[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]
    assert of(rewards, [0.5, 0.5], 4, sum_then_normalize) == [0.0] * 4
    assert np.abs(of(rewards, [0.8, 0.2], 4, normalize_then_sum)).max() > 0.3
    # With equal weights, the two opposed rewards cancel.
    assert np.abs(of(rewards, [0.5, 0.5], 4, normalize_then_sum)).max() < 1e-9


def test_leave_one_out_in_closed_form() -> None:
    """r_i - mean of the others = n / (n - 1) * (r_i - mean of all)."""
    rewards = np.random.default_rng(0).normal(size=(12, 2))
    weights = np.array([0.3, 0.7])
    values = np.array(of(rewards.tolist(), weights.tolist(), 4, leave_one_out))
    sums = rewards @ weights
    for row in range(12):
        group = range(row // 4 * 4, row // 4 * 4 + 4)
        others = np.mean([sums[other] for other in group if other != row])
        assert values[row] == pytest.approx(sums[row] - others)
    centred = sums.reshape(3, 4) - sums.reshape(3, 4).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(values, (4 / 3 * centred).reshape(-1), atol=1e-12)


def test_a_multiplier_is_rescaled_if_the_sum_is_normalised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """arXiv 2602.05863, theorem 4.1: weight w_j acts as w_j * sigma_j / sigma_sum.

    `normalize_then_sum` keeps w_j, which is why multipliers need it.
    """
    monkeypatch.setattr(groups, "EPSILON", 0.0)
    rewards = np.random.default_rng(0).normal(size=(8, 3)) * [1.0, 5.0, 0.2]
    weights = np.array([0.5, 0.2, 0.3])
    spread, of_sum = rewards.std(axis=0, ddof=1), (rewards @ weights).std(ddof=1)
    standard = (rewards - rewards.mean(axis=0)) / spread
    summed, separate = (of(rewards.tolist(), [*weights], 8, aggregation) for aggregation in BOTH)
    np.testing.assert_allclose(summed, standard @ (weights * spread / of_sum), atol=1e-12)
    np.testing.assert_allclose(separate, standard @ weights, atol=1e-12)


@pytest.mark.parametrize("aggregation", BOTH)
def test_objectives_of_other_domains_are_ignored(aggregation: Aggregation) -> None:
    """Two groups of different domains do not affect each other; rows without rewards get 0."""
    rewards = np.array([[1.0, NAN], [2.0, NAN], [NAN, 5.0], [NAN, 1.0], [NAN, NAN], [NAN, NAN]])
    weights = np.array([[1.0, 0.0]] * 2 + [[0.0, 1.0]] * 2 + [[1.0, 0.0]] * 2)
    np.testing.assert_allclose(
        aggregation(rewards, weights, 2),
        [-0.707, 0.707, 0.707, -0.707, 0, 0],
        atol=1e-3,
    )


@given(
    st.lists(st.lists(st.floats(-5, 5), min_size=2, max_size=2), min_size=8, max_size=8),
    st.sampled_from(ALL),
)
def test_groups_have_mean_zero(rewards: list[list[float]], aggregation: Aggregation) -> None:
    advantages = np.array(of(rewards, [0.3, 0.7], 4, aggregation)).reshape(2, 4)
    np.testing.assert_allclose(advantages.mean(axis=1), 0.0, atol=1e-9)
