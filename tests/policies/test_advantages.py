"""Advantages: numbers by hand, and what the two orders of summing and normalising keep or lose."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.policies.advantages import (
    EPSILON,
    _normalise,
    normalize_then_sum,
    sum_then_normalize,
)

NAN = float("nan")
Aggregation = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
BOTH: list[Aggregation] = [sum_then_normalize, normalize_then_sum]


def of(
    rewards: list[list[float]], weights: list[float], generations: int, aggregation: Aggregation
) -> list[float]:
    return [*aggregation(np.array(rewards), np.array([weights] * len(rewards)), generations)]


def test_normalise_by_hand() -> None:
    """Group 1 3: mean 2, standard deviation sqrt(2) (n - 1); group 5 5 does not vary and gives 0."""
    high = 1 / (2**0.5 + EPSILON)
    np.testing.assert_allclose(
        _normalise(np.array([1.0, 3.0, 5.0, 5.0]), 2), [-high, high, 0.0, 0.0]
    )


def test_sum_then_normalise_by_hand() -> None:
    """Sums .5 * (0, 10) + .5 * (0, 0) = 0 and 5: deviations -2.5 and 2.5 over 3.5355."""
    np.testing.assert_allclose(
        of([[0, 0], [10, 0]], [0.5, 0.5], 2, sum_then_normalize), [-0.7071, 0.7071], atol=1e-4
    )


def test_normalise_then_sum_by_hand() -> None:
    """First reward: -.7071 .7071, second does not vary and gives 0: half of the first."""
    found = of([[0, 3], [10, 3]], [0.5, 0.5], 2, normalize_then_sum)
    np.testing.assert_allclose(found, [-0.35355, 0.35355], atol=1e-4)


def test_a_scale_drowns_the_other_reward_unless_normalised_first() -> None:
    """Rewards (0, 1), (0, 0), (100, 0), (100, 1): summed, the second decides next to nothing."""
    rewards = [[0.0, 1.0], [0.0, 0.0], [100.0, 0.0], [100.0, 1.0]]
    summed, normalised = (of(rewards, [0.5, 0.5], 4, aggregation) for aggregation in BOTH)
    assert summed[3] - summed[2] < 0.02
    assert normalised[3] - normalised[2] == pytest.approx(0.5 / (1 / 3) ** 0.5, abs=1e-3)


def test_a_group_of_equal_sums_keeps_its_signal() -> None:
    """Field notes 2.25: sums are 1 1 1, yet the parts vary with unequal spreads, and nothing filters the group out."""
    rewards = [[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]
    assert of(rewards, [0.5, 0.5], 4, sum_then_normalize) == [0.0] * 4
    assert np.abs(of(rewards, [0.8, 0.2], 4, normalize_then_sum)).max() > 0.3
    assert (
        np.abs(of(rewards, [0.5, 0.5], 4, normalize_then_sum)).max() < 1e-9
    )  # equal weights cancel: notes, section 3


@pytest.mark.parametrize("aggregation", BOTH)
def test_objectives_other_domains_do_not_count(aggregation: Aggregation) -> None:
    """A group of each domain, weights by row: as if each group stood alone. A row without any reward gets 0."""
    rewards = np.array([[1.0, NAN], [2.0, NAN], [NAN, 5.0], [NAN, 1.0], [NAN, NAN], [NAN, NAN]])
    weights = np.array([[1.0, 0.0]] * 2 + [[0.0, 1.0]] * 2 + [[1.0, 0.0]] * 2)
    np.testing.assert_allclose(
        aggregation(rewards, weights, 2),
        [-0.707, 0.707, 0.707, -0.707, 0, 0],
        atol=1e-3,
    )


@given(
    st.lists(st.lists(st.floats(-5, 5), min_size=2, max_size=2), min_size=8, max_size=8),
    st.sampled_from(BOTH),
)
def test_groups_have_mean_zero(rewards: list[list[float]], aggregation: Aggregation) -> None:
    found = np.array(of(rewards, [0.3, 0.7], 4, aggregation)).reshape(2, 4)
    np.testing.assert_allclose(found.mean(axis=1), 0.0, atol=1e-9)
