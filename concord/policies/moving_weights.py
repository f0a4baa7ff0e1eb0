"""Weights of the rewards that move during a training.

A rule maps a state to weights, and what is observed in a step to the next state. Rules are pure:
they keep nothing themselves, and the state is plain JSON, so it can be saved with a checkpoint. To
add a rule, define a dataclass with the methods of `Rule`, and add it to `MovingWeights`.

All rewards are anchored: 0 is the mean of the SFT model, and the unit is its standard deviation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Protocol

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.stage import outputs
from concord.stage.params import FORBID

Values = dict[str, float]
"""Objective -> number."""
FILE = "moving_weights.json"
"""The file with the state in the folder of a checkpoint."""


class Observed(NamedTuple):
    """What a step shows."""

    means: Values
    """Objective -> mean anchored reward; objectives without samples in the step are left out."""
    influences: Values
    """Objective -> influence of its gradient (`concord.policies.objective_gradients`); empty in
    steps without a measurement."""


class Rule(Protocol):
    """How weights move."""

    def weights(self, start: Mapping[str, float], state: Values, step: int) -> Values:
        """The weights of the objectives of one domain in a step; the first step is 0.

        `start` are the weights before training, which sum to 1. The result needs not sum to 1.
        """

    def next_state(self, state: Values, step: int, seen: Observed) -> Values:
        """The state after a step. The first state is empty."""


@dataclass(frozen=True, config=FORBID)
class Point:
    """The weights of one step of a schedule."""

    step: Annotated[int, Field(ge=1)]
    """The step in which the weights are reached."""
    weights: dict[str, float]
    """Weight of each objective, normalised to sum to 1 within a domain. Missing objectives get
    weight 0."""


@dataclass(frozen=True, config=FORBID, kw_only=True)
class Schedule:
    """Weights that move linearly from `weights` through the given points."""

    rule: Literal["schedule"]
    """Selects this rule."""
    points: Annotated[list[Point], Field(min_length=1)]
    """The points, in the order of their steps. After the last, the weights stay."""

    def __post_init__(self) -> None:
        steps = [point.step for point in self.points]
        if steps != sorted(set(steps)):
            raise ValueError(f"the steps of `points` are {steps}; each must be above the previous")

    def weights(self, start: Mapping[str, float], state: Values, step: int) -> Values:
        """The interpolation between the points before and after `step`."""
        before, begin = dict(start), 0
        for point in self.points:
            after = _normalised(point.weights, start)
            if step < point.step:
                share = (step - begin) / (point.step - begin)
                return {name: before[name] + share * (after[name] - before[name]) for name in start}
            before, begin = after, point.step
        return before

    def next_state(self, state: Values, step: int, seen: Observed) -> Values:
        """Unchanged: a schedule depends on the step alone."""
        return state


@dataclass(frozen=True, config=FORBID, kw_only=True)
class Lagrangian:
    """Weights that grow while a constraint is violated, by gradient ascent on its multiplier.

    The weight of objective i is w_i + lambda_i. After each step, lambda_i grows by
    rate * (limit_i - mean_i). Constrained GRPO: arXiv 2602.05863.
    """

    rule: Literal["lagrangian"]
    """Selects this rule."""
    at_least: Annotated[dict[str, float], Field(min_length=1)]
    """Lower limit of the mean anchored reward of each constrained objective, in standard deviations
    above the SFT model."""
    rate: Annotated[float, Field(gt=0)] = 0.1
    """Step size of the multipliers."""
    delay: Annotated[int, Field(ge=0)] = 0
    """Steps before the multipliers move."""
    largest: Annotated[float, Field(gt=0)] = 5.0
    """Upper bound of a multiplier. Unconstrained weights sum to 1 within a domain."""

    def weights(self, start: Mapping[str, float], state: Values, step: int) -> Values:
        """The given weights plus the multipliers."""
        return {name: weight + state.get(name, 0.0) for name, weight in start.items()}

    def next_state(self, state: Values, step: int, seen: Observed) -> Values:
        """The multipliers: objective -> lambda."""
        if step < self.delay:
            return state
        moved = {
            name: state.get(name, 0.0) + self.rate * (limit - seen.means[name])
            for name, limit in self.at_least.items()
            if name in seen.means
        }
        return state | {name: min(max(value, 0.0), self.largest) for name, value in moved.items()}


@dataclass(frozen=True, config=FORBID, kw_only=True)
class Hypervolume:
    """Weights in proportion to what an objective would add to the hypervolume.

    The point of running means m dominates the volume prod_i (m_i - reference). Its derivative by
    m_i is the volume divided by m_i - reference (Emmerich and Deutz 2014), so the objectives that
    are least above the reference get the largest weights. They are multiplied by the given weights.
    """

    rule: Literal["hypervolume"]
    """Selects this rule."""
    reference: float = -2.0
    """Reference point of every objective, in standard deviations above the SFT model."""
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Share of the previous running mean that is kept in a step."""
    smallest_gap: Annotated[float, Field(gt=0)] = 0.1
    """Lower bound of m_i - reference."""

    def weights(self, start: Mapping[str, float], state: Values, step: int) -> Values:
        """The given weights until every objective of the domain has a mean."""
        if not all(name in state for name in start):
            return dict(start)
        return {
            name: weight / max(state[name] - self.reference, self.smallest_gap)
            for name, weight in start.items()
        }

    def next_state(self, state: Values, step: int, seen: Observed) -> Values:
        """The running means: objective -> mean anchored reward."""
        keep = self.smoothing
        return state | {
            name: keep * state.get(name, mean) + (1 - keep) * mean
            for name, mean in seen.means.items()
        }


@dataclass(frozen=True, config=FORBID, kw_only=True)
class GradientGuided:
    """Weights that follow how much the gradient of an objective helps all objectives.

    The influence of objective i is <g_i, sum_j g_j>, with the gradients of the policy loss of each
    objective alone, divided by the mean of |g_j|^2. Mirror descent on the simplex multiplies the
    weight of i by exp(rate * influence_i) after each step in which gradients are measured. Lu et
    al., arXiv 2509.11452. A weight of 0 stays 0.
    """

    rule: Literal["gradient"]
    """Selects this rule. It needs `cosines_every`, which measures the gradients."""
    rate: Annotated[float, Field(gt=0)] = 0.1
    """Step size of the logarithms of the weights."""

    def weights(self, start: Mapping[str, float], state: Values, step: int) -> Values:
        """The given weights times the factors, which are scaled so that the largest is 1."""
        top = max(state.get(name, 0.0) for name, weight in start.items() if weight > 0)
        return {
            name: weight * math.exp(min(state.get(name, 0.0) - top, 0.0))
            for name, weight in start.items()
        }

    def next_state(self, state: Values, step: int, seen: Observed) -> Values:
        """The logarithms of the factors: objective -> sum of rate * influence."""
        moved = {
            name: state.get(name, 0.0) + self.rate * influence
            for name, influence in seen.influences.items()
        }
        return state | moved


MovingWeights = Annotated[
    Schedule | Lagrangian | Hypervolume | GradientGuided, Field(discriminator="rule")
]


class WeightTracker:
    """The weights of the step that is running, and the state that they follow from.

    Args:
        start: domain -> objective -> weight before training, summing to 1 within a domain.
        rule: how the weights move; None for fixed weights.
    """

    def __init__(self, start: Mapping[str, Mapping[str, float]], rule: Rule | None = None) -> None:
        self.start, self.rule = start, rule
        self.state: Values = {}
        self.influences: Values = {}
        """Objective -> influence of its gradient in the step, if it was measured."""
        self._samples: dict[str, tuple[float, int]] = {}
        self.current = self._weights(0)
        """Domain -> objective -> weight, summing to 1 within a domain."""

    def observe(self, name: str, total: float, count: int) -> None:
        """Adds the sum of `count` anchored rewards of a micro-batch."""
        sums, counts = self._samples.get(name, (0.0, 0))
        self._samples[name] = sums + total, counts + count

    def end_step(self, step: int) -> None:
        """Moves the weights after `step`, with what was observed in it."""
        means = {name: total / count for name, (total, count) in self._samples.items()}
        seen = Observed(means, self.influences)
        self._samples, self.influences = {}, {}
        if self.rule is not None:
            self.state = self.rule.next_state(self.state, step, seen)
            self.current = self._weights(step + 1)

    def save(self, checkpoint: Path) -> None:
        """Writes the state to the folder of a checkpoint."""
        outputs.write_json(checkpoint / FILE, self.state)

    def load(self, checkpoint: Path, step: int) -> None:
        """Restores the state from the checkpoint; `step` is the next step."""
        self.state = outputs.read_json(checkpoint / FILE)
        self.current = self._weights(step)

    def _weights(self, step: int) -> dict[str, Values]:
        if self.rule is None:
            return {domain: dict(weights) for domain, weights in self.start.items()}
        return {
            domain: _normalised(self.rule.weights(weights, self.state, step), weights)
            for domain, weights in self.start.items()
        }


def _normalised(weights: Mapping[str, float], members: Mapping[str, float]) -> Values:
    """The weights of `members`, scaled to sum to 1; a missing weight counts as 0."""
    total = sum(weights.get(name, 0.0) for name in members)
    return {name: weights.get(name, 0.0) / total for name in members}
