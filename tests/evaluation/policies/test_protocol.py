"""Operating points: bound by name, without repeats, summing to 1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.evaluation.policies.protocol import find, operating_points, own_weight, sweep_weights

NAMES = ["helpful", "honest", "harmless"]


def test_own_weight_by_hand() -> None:
    """harmless 0.5, the other two share the rest: 0.25 each."""
    assert own_weight(NAMES, "harmless", 0.5) == {"helpful": 0.25, "honest": 0.25, "harmless": 0.5}


@given(st.integers(1, 4), st.integers(2, 9))
def test_points_are_vectors_without_repeats(count: int, sweep: int) -> None:
    names = [f"objective{place}" for place in range(count)]
    points = operating_points("domain", names, dict.fromkeys(names, 1 / count), sweep)
    assert points[0].name == "equal"
    for place, point in enumerate(points):
        assert sum(point.weights.values()) == pytest.approx(1.0)
        assert set(point.weights) == set(names)
        assert find(points[:place], "domain", point.weights) is None


def test_two_objectives_share_one_sweep() -> None:
    """Nine weights of one are nine of the other; equal is one of them: nine points for two objectives, 29 for three."""
    two = {"a": 0.5, "b": 0.5}
    assert len(operating_points("d", ["a", "b"], two, 9)) == 9
    assert (
        len(operating_points("d", NAMES, {"helpful": 0.35, "honest": 0.2, "harmless": 0.45}, 9))
        == 29
    )
    for name in ("a", "b"):
        for weight in sweep_weights(9):
            assert find(
                operating_points("d", ["a", "b"], two, 9), "d", own_weight(["a", "b"], name, weight)
            )


def test_order_of_objectives_changes_no_point() -> None:
    default = {"helpful": 0.35, "honest": 0.2, "harmless": 0.45}
    one = {point.name: point.weights for point in operating_points("d", NAMES, default, 9)}
    two = {point.name: point.weights for point in operating_points("d", NAMES[::-1], default, 9)}
    assert one == two
