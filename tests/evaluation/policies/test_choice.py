"""The choice of weights: the response, the rules, the constraints, and how steady a choice is."""

from typing import Any

import numpy as np
import pytest

from concord.evaluation.policies.choice import GIVEN, Measured, Response, Wish, bound, choose
from concord.evaluation.policies.protocol import lattice
from concord.stage.errors import DataError


def front(weights: np.ndarray) -> np.ndarray:
    """A concave front of two objectives: both rise with their weight, and the middle bulges."""
    one, two = weights.T
    return np.column_stack([one + 1.2 * one * two, 3 * two + 1.2 * one * two, 3 * one])


def measured(noise: float = 0.0, resamples: int = 20, seed: int = 0) -> Measured:
    """`front` at five weights; the third column is the KL."""
    weights, rng = lattice(2, 4), np.random.default_rng(seed)
    means = front(weights) + noise * rng.standard_normal((5, 3))
    draws = means + noise * rng.standard_normal((resamples, 5, 3))
    return Measured("math", ["right", "warm"], weights, means, draws)


def wish(rule: str = GIVEN, **changes: Any) -> Wish:
    none = np.full(2, -np.inf)
    defaults: dict[str, Any] = {
        "weights": np.array([0.5, 0.5]),
        "at_least": none,
        "sft": np.zeros(2),
        "max_kl": np.inf,
        "stay_near": 0.0,
    }
    return Wish(rule=rule, **(defaults | changes))


@pytest.mark.parametrize("weights", [lattice(2, 4), lattice(3, 3), lattice(4, 3)])
def test_the_response_recovers_a_quadratic(weights: np.ndarray) -> None:
    products = weights[:, :1] * weights[:, 1:2]
    values = weights @ np.arange(1.0, weights.shape[1] + 1)[:, None] + 0.7 * products
    response = Response.fit(weights, values)
    assert response.at(weights) == pytest.approx(values, abs=1e-9)
    assert response.r2 == pytest.approx(1.0)


def test_few_points_get_a_linear_response() -> None:
    weights = np.eye(3)
    response = Response.fit(weights, np.array([[1.0], [2.0], [6.0]]))
    assert response.at(np.full((1, 3), 1 / 3)) == pytest.approx(3.0)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.37, 1.0])
def test_given_weights_are_the_head_weights(share: float) -> None:
    """Also between the measured points, and whatever was measured."""
    asked = np.array([share, 1 - share])
    assert list(choose(measured(0.3), wish(weights=asked))["weights"].values()) == asked.tolist()


def test_weights_that_break_a_constraint_move_to_the_nearest_that_keep_it() -> None:
    """The KL is three times the first weight."""
    chosen = choose(measured(), wish(weights=np.array([0.9, 0.1]), max_kl=1.5))
    assert chosen["weights"]["right"] == pytest.approx(0.5)
    assert chosen["asked"]["right"] == 0.9
    lower = choose(measured(), wish(at_least=np.array([-np.inf, 2.4])))
    assert lower["proxies"]["warm"] == pytest.approx(2.4, abs=0.02)
    assert lower["weights"]["right"] < 0.5


def test_constraints_that_exclude_all_weights_are_an_error_with_what_is_possible() -> None:
    impossible = wish(at_least=np.array([0.9, 2.9]), max_kl=2.0)
    with pytest.raises(
        DataError, match=r"at_least.right is 0.9, the highest .*select.max_kl is 2,"
    ):
        choose(measured(), impossible)


def test_rules_differ_on_a_concave_front() -> None:
    """The sum takes the heavier objective, Chebyshev balances the distances to the best means."""
    rules = {
        rule: choose(measured(), wish(rule, sft=np.array([0.5, 0.0])))["weights"]["right"]
        for rule in ("weighted_sum", "chebyshev", "gate")
    }
    assert rules["weighted_sum"] == pytest.approx(0.08, abs=0.01)
    assert rules["chebyshev"] > rules["weighted_sum"] + 0.1
    proxies = choose(measured(), wish("gate", sft=np.array([0.8, 0.0])))["proxies"]
    assert proxies["right"] == pytest.approx(0.8, abs=0.02)


def test_staying_near_pulls_towards_the_given_weights() -> None:
    chosen = [
        choose(measured(), wish("weighted_sum", stay_near=near))["weights"]["right"]
        for near in (0.0, 0.5, 50.0)
    ]
    assert chosen[0] < chosen[1] < chosen[2]
    assert chosen[2] == pytest.approx(0.5, abs=0.01)


def test_a_rule_chooses_about_the_same_from_each_sample() -> None:
    """60 samples whose means have errors like those of 240 answers: 90 % within .1."""
    chosen = [
        choose(measured(0.06, seed=seed), wish("weighted_sum", stay_near=0.2))["weights"]["right"]
        for seed in range(60)
    ]
    assert np.mean(np.abs(np.array(chosen) - np.median(chosen)) <= 0.1) >= 0.9
    assert np.std(chosen) > 0


def test_the_spread_is_that_of_the_resamples() -> None:
    exact = choose(measured(), wish("weighted_sum"))
    noisy = choose(measured(0.1), wish("weighted_sum"))
    assert exact["spread"]["right"] == pytest.approx(0.0)
    assert noisy["spread"]["right"] > 0.01


def test_without_measurements_the_given_weights_are_chosen() -> None:
    blank = measured()
    blank = Measured(blank.domain, blank.names, blank.weights, blank.means * np.nan, blank.draws)
    assert choose(blank, wish("weighted_sum"))["weights"] == {"right": 0.5, "warm": 0.5}


@pytest.mark.parametrize(
    ("value", "expected"), [(0.3, 0.3), ("sft", 0.5), ("sft - .02", 0.48), ("sft+1", 1.5)]
)
def test_bounds(value: float | str, expected: float) -> None:
    assert bound(value, 0.5) == pytest.approx(expected)


@pytest.mark.parametrize("value", ["dpo - 0.1", "sft * 2", "sft -", ""])
def test_other_texts_are_no_bounds(value: str) -> None:
    with pytest.raises(ValueError, match=r"sft - 0\.02"):
        bound(value, 0.5)
