"""Operating points: identified by name, without duplicates, summing to 1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.evaluation.policies.protocol import (
    all_points,
    evaluated_objectives,
    find,
    focused_weights,
    operating_points,
    sweep_weights,
)
from concord.objectives import Objective

NAMES = ["helpful", "honest", "harmless"]


def test_focused_weights_by_hand() -> None:
    """harmless has 0.5; the other two share the rest: 0.25 each."""
    assert focused_weights(NAMES, "harmless", 0.5) == {
        "helpful": 0.25,
        "honest": 0.25,
        "harmless": 0.5,
    }


@given(st.integers(1, 4), st.integers(2, 9))
def test_points_are_distinct_weight_vectors(count: int, sweep: int) -> None:
    names = [f"objective{index}" for index in range(count)]
    points = operating_points("domain", names, dict.fromkeys(names, 1 / count), sweep)
    assert points[0].name == "equal"
    for index, point in enumerate(points):
        assert sum(point.weights.values()) == pytest.approx(1.0)
        assert set(point.weights) == set(names)
        assert find(points[:index], "domain", point.weights) is None


def test_two_objectives_share_one_sweep() -> None:
    """The sweeps of two objectives coincide and contain `equal`: nine points; 29 for three."""
    two = {"a": 0.5, "b": 0.5}
    assert len(operating_points("d", ["a", "b"], two, 9)) == 9
    assert (
        len(operating_points("d", NAMES, {"helpful": 0.35, "honest": 0.2, "harmless": 0.45}, 9))
        == 29
    )
    for name in ("a", "b"):
        for weight in sweep_weights(9):
            assert find(
                operating_points("d", ["a", "b"], two, 9),
                "d",
                focused_weights(["a", "b"], name, weight),
            )


def test_points_do_not_depend_on_the_order_of_objectives() -> None:
    default = {"helpful": 0.35, "honest": 0.2, "harmless": 0.45}
    one = {point.name: point.weights for point in operating_points("d", NAMES, default, 9)}
    two = {point.name: point.weights for point in operating_points("d", NAMES[::-1], default, 9)}
    assert one == two


OBJECTIVES = {
    "right": Objective("math", "", verifier="math_answer"),
    "helpful": Objective("values", "", reward="r"),
    "honest": Objective("values", "", reward="r"),
    "overall": Objective("values", "", reward="r", in_vector=False),
}


def test_objectives_outside_of_the_vector_are_not_evaluated() -> None:
    """A multi-head policy is evaluated on the objectives with a head."""
    every = {"math": ["right"], "values": ["helpful", "honest"]}
    assert evaluated_objectives(OBJECTIVES, None) == every
    assert evaluated_objectives(OBJECTIVES, ["honest"]) == {"values": ["honest"]}
    assert evaluated_objectives(OBJECTIVES, None, {"math"}) == {"math": ["right"]}


def test_weights_are_swept_only_if_the_policy_is_steerable() -> None:
    names, weights = evaluated_objectives(OBJECTIVES, None), {"right": 1.0, "helpful": 3.0}
    weights["honest"] = 1.0
    fixed = all_points(names, OBJECTIVES, weights, 3, steerable=False)
    assert [(point.name, point.domain) for point in fixed] == [
        ("equal", "math"),
        ("equal", "values"),
    ]
    steered = all_points(names, OBJECTIVES, weights, 3, steerable=True)
    default = next(point for point in steered if point.name == "default")
    assert default.weights == {"helpful": 0.75, "honest": 0.25}
