"""The order of the prompts, and the weights that are drawn for them."""

import numpy as np

from concord.policies.rl.step_prompts import WEIGHTS, WeightDraws, prompts_in_order, with_weights
from tests.policies.conftest import rollouts

NAMES = ["helpful", "honest", "right"]
MEMBERS = {"math": ["right"], "values": ["helpful", "honest"]}


def drawn(draws: WeightDraws, steps: int = 1, seed: int = 0) -> np.ndarray:
    """The weights of the values prompts `(prompts, objectives)`."""
    prompts = [{"domain": "math"}, {"domain": "values"}] * steps
    given = {"values": {"helpful": 0.3, "honest": 0.7}, "math": {"right": 1.0}}
    rows = with_weights(prompts, draws, MEMBERS, given, NAMES, seed)
    assert all(row[WEIGHTS] == [0.0, 0.0, 1.0] for row in rows[::2])
    return np.array([row[WEIGHTS] for row in rows[1::2]])


def test_prompts_alternate_between_domains() -> None:
    """7 steps of 2 prompts with 6 prompts per domain: each is used once before any is repeated."""
    rows = prompts_in_order(rollouts(), prompts_per_step=2, steps=7, seed=0)
    assert [row["domain"] for row in rows] == ["math", "values"] * 7
    maths = [row["prompt"][0]["content"] for row in rows if row["domain"] == "math"]
    assert sorted(maths[:6]) == [f"math {n}" for n in range(6)]
    assert rows[0]["reference"] == "2"


def test_weights_have_the_requested_shares() -> None:
    """A quarter corners, half the given weights, and the rest uniform over the mixes."""
    weights = drawn(WeightDraws(corners=0.25, given=0.5), steps=2000)
    corner = (weights == 1).any(axis=1)
    given = (weights == [0.3, 0.7, 0.0]).all(axis=1)
    assert abs(corner.mean() - 0.25) < 0.03
    assert abs(given.mean() - 0.5) < 0.03
    assert abs(weights[corner, 0].mean() - 0.5) < 0.07
    mixes = weights[~corner & ~given]
    np.testing.assert_allclose(mixes.sum(axis=1), 1.0)
    np.testing.assert_allclose(
        np.quantile(mixes[:, 0], [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.06
    )


def test_draws_do_not_depend_on_the_length_of_the_training() -> None:
    draws = WeightDraws()
    assert drawn(draws, steps=5).tolist() == drawn(draws, steps=9)[:5].tolist()
    assert drawn(draws, steps=5).tolist() != drawn(draws, steps=5, seed=1).tolist()
