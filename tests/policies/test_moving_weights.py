"""Moving weights: values by hand, bounds, and the state in a checkpoint."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from concord.policies.methods.grpo import METHOD, GrpoParams, run
from concord.policies.methods.rloo import RlooParams
from concord.policies.moving_weights import (
    GradientGuided,
    Hypervolume,
    Lagrangian,
    Point,
    Schedule,
    WeightTracker,
)
from concord.policies.objective_gradients import influences
from concord.stage.errors import ParamsError
from concord.stage.params import section
from tests.policies.conftest import OBJECTIVES, ONLINE, TRL_READS_AN_OLD_NAME, MakeJob

START = {"math": {"right": 0.5, "vivid": 0.5}, "values": {"helpful": 0.75, "honest": 0.25}}
ENTRY = {
    **ONLINE,
    "method": "grpo",
    "weights": {"right": 1.0, "vivid": 3.0, "helpful": 1.0},
}
LAGRANGIAN = {"rule": "lagrangian", "at_least": {"honest": 0.5}}


def after(tracker: WeightTracker, *steps: dict[str, float]) -> list[dict[str, float]]:
    """The weights of `values` after each step with these mean rewards."""
    result = []
    for step, means in enumerate(steps):
        for name, mean in means.items():
            tracker.observe(name, mean * 3, 3)
        tracker.end_step(step)
        result.append(tracker.current["values"])
    return result


def test_a_schedule_is_linear_between_its_points() -> None:
    """From (.75, .25) to (.25, .75) in step 2 and (0, 1) in step 4; the scale does not matter."""
    points = [
        Point(2, {"helpful": 1.0, "honest": 3.0, "right": 1.0}),
        Point(4, {"honest": 9.0, "vivid": 1.0}),
    ]
    tracker = WeightTracker(START, Schedule(rule="schedule", points=points))
    assert tracker.current == START
    helpful = [weights["helpful"] for weights in after(tracker, *[{}] * 5)]
    assert helpful == pytest.approx([0.5, 0.25, 0.125, 0.0, 0.0])
    assert tracker.current["math"] == {"right": 0.0, "vivid": 1.0}


def test_a_multiplier_by_hand() -> None:
    """Limit .5, rate 1, one step of delay: lambda is 0, .5, .5 + .25, then 0 again.

    The weights of honest are (.25 + lambda) / (1 + lambda).
    """
    rule = Lagrangian(rule="lagrangian", at_least={"honest": 0.5}, rate=1.0, delay=1)
    means = [{"honest": -9.0}, {"honest": 0.0}, {"honest": 0.25}, {"honest": 2.0}]
    weights = after(WeightTracker(START, rule), *means)
    expected = [0.25, 0.75 / 1.5, 1.0 / 1.75, 0.25]
    assert [of["honest"] for of in weights] == pytest.approx(expected)


@given(st.lists(st.one_of(st.none(), st.floats(-100, 100)), max_size=12))
def test_a_multiplier_stays_within_its_bounds(means: list[float | None]) -> None:
    """Whatever the rewards are, and if some steps have no samples."""
    rule = Lagrangian(rule="lagrangian", at_least={"honest": 0.5}, rate=3.0, largest=2.0)
    tracker = WeightTracker(START, rule)
    after(tracker, *({} if mean is None else {"honest": mean} for mean in means))
    assert 0 <= tracker.state.get("honest", 0.0) <= 2
    assert sum(tracker.current["values"].values()) == pytest.approx(1.0)
    assert tracker.current["math"] == START["math"]


def test_the_hypervolume_rule_is_the_gradient_of_the_volume() -> None:
    """Weights / given weights are in the ratio of numerical derivatives of the volume."""
    rule = Hypervolume(rule="hypervolume", reference=-2.0, smoothing=0.5)
    tracker = WeightTracker(START, rule)
    (weights,) = after(tracker, {"helpful": 1.0, "honest": -0.5})

    def volume(helpful: float, honest: float) -> float:
        return (helpful + 2) * (honest + 2)

    by_helpful, by_honest = (
        volume(2.0, -0.5) - volume(1.0, -0.5),
        volume(1.0, 0.5) - volume(1, -0.5),
    )
    expected = 0.75 * by_helpful / (0.75 * by_helpful + 0.25 * by_honest)
    assert weights["helpful"] == pytest.approx(expected)
    assert weights["helpful"] < 0.75  # it is further above the reference
    after(tracker, {"helpful": 2.0, "honest": -9.0})
    assert tracker.state == {"helpful": 1.5, "honest": -4.75}
    gaps = 0.75 / 3.5, 0.25 / 0.1  # honest is below the reference: the smallest gap
    assert tracker.current["values"]["helpful"] == pytest.approx(gaps[0] / sum(gaps))
    assert tracker.current["math"] == START["math"]  # no sample yet


def test_influences_by_hand() -> None:
    """Gradients (2, 0), (1, 1) and (0, -1): the sum is (3, 0), the mean of the squares 7 / 3."""
    gradients = {"a": [2.0, 0.0], "b": [1.0, 1.0], "c": [0.0, -1.0]}
    result = influences({name: torch.tensor(row) for name, row in gradients.items()})
    assert result == pytest.approx({"a": 18 / 7, "b": 9 / 7, "c": 0.0})
    assert influences({}) == {}


def test_weights_follow_the_influence_of_gradients() -> None:
    """Rate log 2, influences 1 and -1: the ratio 3 of the weights grows by 4, and then stays.

    Large influences do not overflow.
    """
    rule = GradientGuided(rule="gradient", rate=math.log(2))
    tracker = WeightTracker(START, rule)
    tracker.influences = {"helpful": 1.0, "honest": -1.0}
    expected = {"helpful": 12 / 13, "honest": 1 / 13}
    for weights in after(tracker, {"helpful": -9.0}, {}):
        assert weights == pytest.approx(expected)
    assert tracker.current["math"] == START["math"]
    tracker.influences = {"helpful": -1e5, "honest": 1e5}
    assert after(tracker, {}) == [{"helpful": 0.0, "honest": 1.0}]


@TRL_READS_AN_OLD_NAME
def test_a_training_logs_influences_and_the_weights_that_follow(
    reward_models: Path, make_job: MakeJob
) -> None:
    """Gradients are measured in the first and the third step, so weights move after the first."""
    job = make_job(
        method="grpo",
        **ONLINE,
        weights={"honest": 1.0, "helpful": 1.0, "vivid": 1.0},
        moving_weights={"rule": "gradient", "rate": 50.0},
        cosines_every=2,
    )
    run(job)
    curve = pd.read_csv(job.curve)
    ratio = curve["weight.honest"] / curve["weight.helpful"]
    gap = curve["influence.honest"] - curve["influence.helpful"]
    moved = math.exp(50 * gap[0])
    assert ratio.tolist() == pytest.approx([1.0, moved, moved], rel=1e-4)
    assert abs(moved - 1) > 0.05
    assert gap.isna().tolist() == [False, True, False]


def test_means_are_over_all_samples_of_a_step() -> None:
    """Micro-batches of 1 and 3 samples: (4 + 0) / 4."""
    tracker = WeightTracker(START, Hypervolume(rule="hypervolume"))
    tracker.observe("honest", 4.0, 1)
    tracker.observe("honest", 0.0, 3)
    tracker.end_step(0)
    assert tracker.state == {"honest": 1.0}


def test_a_checkpoint_restores_the_state_exactly(tmp_path: Path) -> None:
    rule = Lagrangian(rule="lagrangian", at_least={"honest": 0.1}, rate=1 / 3)
    one, other = WeightTracker(START, rule), WeightTracker(START, rule)
    after(one, {"honest": -1 / 7}, {"honest": 1 / 9})
    one.save(tmp_path)
    other.load(tmp_path, step=2)
    assert other.current == one.current
    assert after(other, {"honest": 0.3}) == after(one, {"honest": 0.3})


@pytest.mark.parametrize(
    ("params", "extra", "message"),
    [
        (GrpoParams, {"aggregation": "sum_then_normalize"}, "use `normalize_then_sum`"),
        (
            RlooParams,
            {"method": "rloo", "aggregation": "leave_one_out", "scalariser": "chebyshev"},
            "use `weighted_sum` with `lagrangian`",
        ),
        (GrpoParams, {"moving_weights": {"rule": "lagrange"}}, "did you mean lagrangian"),
        (GrpoParams, {"moving_weights": {"rule": "gradient"}}, "set `cosines_every: 1`"),
        (GrpoParams, {"moving_weights": {"at_least": {}}}, "moving_weights.rule is missing"),
        (
            GrpoParams,
            {"moving_weights": {"rule": "schedule", "points": [{"step": 3, "weights": {}}] * 2}},
            r"the steps of `points` are \[3, 3\]",
        ),
    ],
)
def test_rules_that_make_no_sense(params: type, extra: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        section(params, {**ENTRY, "moving_weights": LAGRANGIAN, **extra}, "policies.x")


@pytest.mark.parametrize(
    ("moving", "message"),
    [
        (
            {"rule": "lagrangian", "at_least": {"honset": 1.0}},
            "did you mean honest",
        ),
        (
            {"rule": "schedule", "points": [{"step": 3, "weights": {"right": 1.0}}]},
            r"points\.0\.weights: no objective of domain values has a positive weight",
        ),
    ],
)
def test_rules_must_fit_the_objectives(moving: dict[str, Any], message: str) -> None:
    params = section(GrpoParams, {**ENTRY, "moving_weights": moving}, "policies.x")
    vector = {name: objective for name, objective in OBJECTIVES.items() if objective.in_vector}
    (problem,) = METHOD.problems(params, vector)
    with pytest.raises(ParamsError, match=message):
        raise ParamsError(problem)
