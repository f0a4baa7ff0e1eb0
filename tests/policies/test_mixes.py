"""Random mixes of objectives, and the pairs that they choose."""

import numpy as np
import pytest

from concord.policies.mixes import Mixes, MixPlan, draw_mixes
from concord.policies.training_pairs import by_mix, by_objective
from concord.rewards.vector.anchors import Anchor, Anchors
from tests.policies.conftest import OBJECTIVES, rollouts

DOMAINS = {"right": "math", "vivid": "math", "alone": "chat"}


def test_a_plan_keeps_the_share_and_the_weight_of_each_domain() -> None:
    alpha = {"right": 0.5, "vivid": 0.2, "alone": 0.3}
    plan = MixPlan.of(DOMAINS, alpha, Mixes(corners=0.25))
    assert plan.mixed == {"mix:math": ("math", ["right", "vivid"])}
    assert sum(plan.shares.values()) == pytest.approx(1)
    assert sum(plan.alpha.values()) == pytest.approx(1)
    assert plan.shares["alone"] == pytest.approx(1 / 3)
    assert plan.alpha["right"] == pytest.approx(0.125)
    assert plan.alpha["mix:math"] == pytest.approx(0.75 * 0.7)


def test_without_corners_only_mixes_are_trained() -> None:
    plan = MixPlan.of(DOMAINS, dict.fromkeys(DOMAINS, 1 / 3), Mixes(corners=0.0))
    assert set(plan.shares) == {"mix:math", "alone"}


def test_draws_depend_on_the_prompt_and_the_seed_alone() -> None:
    mixes = Mixes(per_prompt=3)
    first = draw_mixes(mixes, 2, "prompt", "seed")
    assert first.shape == (3, 2)
    np.testing.assert_allclose(first.sum(axis=1), 1)
    np.testing.assert_array_equal(first, draw_mixes(mixes, 2, "prompt", "seed"))
    assert not np.array_equal(first, draw_mixes(mixes, 2, "other", "seed"))
    assert not np.array_equal(first, draw_mixes(mixes, 2, "prompt", "other"))


@pytest.mark.parametrize(("concentration", "near"), [(0.05, "corners"), (200.0, "equal")])
def test_the_concentration_moves_the_mixes(concentration: float, near: str) -> None:
    drawn = draw_mixes(Mixes(dirichlet=concentration, per_prompt=200), 2, "prompt", "seed")
    largest = drawn.max(axis=1).mean()
    assert largest > 0.9 if near == "corners" else largest < 0.55


def test_a_mix_of_one_objective_chooses_its_pairs() -> None:
    """At a corner, the pairs are those of the objective, and they carry the mix."""
    anchors = Anchors({name: Anchor(0.0, 1.0, 1, 10) for name in ("right", "vivid")})
    corner = np.array([[0.0, 1.0]])
    frame = rollouts()
    mixed = by_mix(frame, "math", ["right", "vivid"], anchors, 0.5, lambda _: corner)
    single = by_objective(frame, OBJECTIVES, ["vivid"], anchors, 0.5)["vivid"]
    assert mixed
    assert {pair.weights["vivid"] for pair in mixed if pair.weights} == {1.0}
    assert [pair.chosen for pair in mixed] == [
        pair.chosen for pair in single if pair.chosen in {other.chosen for other in mixed}
    ]
