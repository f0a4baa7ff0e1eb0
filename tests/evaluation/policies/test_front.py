"""Hypervolume of known sets, non-dominated points, and control."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.evaluation.policies.front import (
    control,
    hypervolume,
    hypervolume_interval,
    non_dominated,
)

POINTS = st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 3), min_size=1, max_size=6).map(np.array)


def test_hypervolume_of_known_sets() -> None:
    """One box; (2, 1) and (1, 2), two boxes of area 2 that overlap in 1; a cube."""
    assert hypervolume(np.array([[0.5, 0.4]]), [0, 0]) == pytest.approx(0.2)
    assert hypervolume(np.array([[2.0, 1.0], [1.0, 2.0]]), [0, 0]) == pytest.approx(3.0)
    assert hypervolume(np.array([[2.0, 1.0], [1.0, 2.0], [1.0, 1.0]]), [0, 0]) == pytest.approx(3.0)
    assert hypervolume(np.array([[2.0, 2.0, 2.0]]), [0, 0, 0]) == pytest.approx(8.0)
    assert hypervolume(np.array([[2.0, 1.0]]), [1.0, 0.0]) == pytest.approx(1.0)


def test_a_point_below_the_reference_adds_nothing() -> None:
    assert hypervolume(np.array([[0.9, -0.1]]), [0, 0]) == 0.0
    assert hypervolume(np.array([[0.9, -0.1], [0.5, 0.5]]), [0, 0]) == pytest.approx(0.25)


@given(POINTS)
def test_hypervolume_does_not_depend_on_order_and_has_bounds(points: np.ndarray) -> None:
    volume = hypervolume(points, [0, 0, 0])
    assert hypervolume(points[::-1], [0, 0, 0]) == pytest.approx(volume)
    assert hypervolume(points[:, ::-1], [0, 0, 0]) == pytest.approx(volume)
    assert volume <= 1.0 + 1e-9
    assert volume >= points.prod(axis=1).max() - 1e-6
    assert hypervolume(points[non_dominated(points)], [0, 0, 0]) == pytest.approx(volume)


@given(POINTS)
def test_only_dominated_points_are_dropped(points: np.ndarray) -> None:
    kept = non_dominated(points)

    def dominates(one: np.ndarray, two: np.ndarray) -> bool:
        return bool((one >= two).all() and (one > two).any())

    for index, point in enumerate(points):
        assert kept[index] == (not any(dominates(other, point) for other in points))


def test_hypervolume_interval_contains_the_value() -> None:
    noise = np.random.default_rng(0)
    means = np.array([[0.6, 0.4], [0.4, 0.6]])
    result = hypervolume_interval(means, means + noise.normal(0, 0.01, (200, 2, 2)), [0, 0])
    assert result.value == pytest.approx(0.32)
    assert result.low < 0.32 < result.high


def test_control_measures_order_and_range() -> None:
    """Means .2 .3 .5 over weights 0 .5 1: perfect rank correlation, range .3."""
    means = np.array([0.2, 0.3, 0.5])
    draws = means + np.random.default_rng(0).normal(0, 0.01, (100, 3))
    result = control([0.0, 0.5, 1.0], means, draws)
    assert result["rank_correlation"] == pytest.approx(1.0)
    assert result["range"] == pytest.approx(0.3)
    assert result["gold_means"] == [0.2, 0.3, 0.5]
