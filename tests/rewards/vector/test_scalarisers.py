"""Scalarisers, compared with values computed by hand, and their invariances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from concord.rewards.vector.scalarisers import chebyshev, gate, geometric, weighted_sum
from concord.stage import plugins

NAN = np.nan
REWARDS = np.array([[1.0, -1.0, 2.0], [1.0, NAN, 2.0], [NAN, NAN, NAN]])
WEIGHTS = np.array([0.5, 0.25, 0.25])

MODULE = "concord.rewards.vector.scalarisers"


def test_weighted_sum() -> None:
    """.5 - .25 + .5 = .75; without the second: (.5 * 1 + .25 * 2) / .75 = 4/3; no reward: NaN."""
    np.testing.assert_allclose(weighted_sum(REWARDS, WEIGHTS), [0.75, 4 / 3, NAN])


def test_chebyshev() -> None:
    """Shortfalls 2, 4, 1 times .5, .25, .25 = 1, 1, .25; then 2, 1 times 2/3, 1/3 = 4/3, 1/3."""
    np.testing.assert_allclose(chebyshev(REWARDS, WEIGHTS), [-1.0, -4 / 3, NAN])


def test_geometric() -> None:
    """Logistic of ln 3 and of 0: .75 and .5; equal weights: sqrt(.375)."""
    np.testing.assert_allclose(
        geometric(np.array([[np.log(3), 0.0]]), np.array([1.0, 1.0])), [0.375**0.5]
    )


def test_gate() -> None:
    """Both above 0: the mean. One at -2: -10 - 2. Objectives with weight 0 are not checked."""
    rewards, weights = np.array([[1.0, 3.0], [1.0, -2.0]]), np.array([1.0, 1.0])
    np.testing.assert_allclose(gate(rewards, weights), [2.0, -12.0])
    np.testing.assert_allclose(gate(rewards, np.array([1.0, 0.0])), [1.0, 1.0])


def test_only_chebyshev_reaches_the_concave_part_of_a_front() -> None:
    """With 19 weights, the sum picks only the ends of the front; Chebyshev picks many points."""
    angle = np.linspace(0, np.pi / 2, 50)
    front = np.stack([1 - np.sin(angle), 1 - np.cos(angle)], axis=1)
    picked = {
        name: {
            int(scalarise(front, np.array([w, 1 - w])).argmax())
            for w in np.linspace(0.05, 0.95, 19)
        }
        for name, scalarise in {
            "sum": weighted_sum,
            "chebyshev": lambda r, w: chebyshev(r, w, ideal=1.0),
        }.items()
    }
    assert picked["sum"] == {0, 49}
    assert len(picked["chebyshev"]) >= 10


TABLES = arrays(float, (4, 3), elements=st.floats(-5, 2.9) | st.just(NAN))
POSITIVE = arrays(float, 3, elements=st.floats(0.01, 10))


@pytest.mark.parametrize("name", plugins.names(MODULE))
@given(TABLES, POSITIVE, st.permutations(range(3)))
def test_scale_and_order_do_not_matter(
    name: str, rewards: np.ndarray, weights: np.ndarray, order: list[int]
) -> None:
    value = plugins.function(MODULE, name)(rewards, weights)
    np.testing.assert_allclose(
        plugins.function(MODULE, name)(rewards, 7 * weights), value, atol=1e-9
    )
    np.testing.assert_allclose(
        plugins.function(MODULE, name)(rewards[:, order], weights[order]), value, atol=1e-9
    )
    assert (np.isnan(value) == np.isnan(rewards).all(axis=1)).all()


@pytest.mark.parametrize("name", plugins.names(MODULE))
@given(TABLES, POSITIVE)
def test_higher_rewards_never_give_a_lower_value(
    name: str, rewards: np.ndarray, weights: np.ndarray
) -> None:
    value, more = (
        plugins.function(MODULE, name)(rewards, weights),
        plugins.function(MODULE, name)(rewards + 0.1, weights),
    )
    assert (np.isnan(value) | (more >= value - 1e-9)).all()


@pytest.mark.parametrize("weights", [[1.0, -1.0], [1.0, NAN], [1.0]])
def test_invalid_weights_are_rejected(weights: list[float]) -> None:
    with pytest.raises(ValueError, match=r"must be finite|do not fit"):
        weighted_sum(np.ones((1, 2)), np.array(weights))
