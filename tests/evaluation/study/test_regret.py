"""Regret on planted curves, whose utilities at equal KL are known."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from concord.evaluation.study.control import control
from concord.evaluation.study.curves import Curves, interpolate
from concord.evaluation.study.recipe import Cell, StudyParams, Variant
from concord.evaluation.study.regret import BEST, gap, regrets
from concord.evaluation.study.result import result

PROMPTS = 40
CELLS = [
    Cell("values", 0, {"helpful": 1.0, "harmless": 0.0}),
    Cell("values", 1, {"helpful": 0.0, "harmless": 1.0}),
]
VARIANTS = [
    Variant("heads", None, {}),
    Variant("dpo", 0, {}),
    Variant("dpo", 1, {}),
    Variant("fixed", None, {}),
]


def study(**changes: Any) -> StudyParams:
    entries: dict[str, Any] = {
        "world": "dev", "world_seed": 0, "prompts": PROMPTS, "seeds": [0, 1, 2],
        "scales": [0.5, 1.0], "steered": "heads", "rivals": ["dpo", "fixed"],
        "weights": [{"helpful": 1.0}, {"harmless": 1.0}],
        "policies": {"heads": {}, "dpo": {"weights": "each"}, "fixed": {}}, "bootstrap": 200,
    }  # fmt: skip
    return StudyParams(**{**entries, **changes})


def answers(line: int, scale: float, kl: float, helpful: float, harmless: float) -> pd.DataFrame:
    """Answers whose means are given; prompts differ, equally for all policies."""
    noise = np.random.default_rng(0).normal(size=PROMPTS)
    noise = 0.1 * (noise - noise.mean())
    return pd.DataFrame(
        {
            "domain": "values", "line": line, "scale": scale, "kl": kl,
            "group_id": [f"group {index % 20}" for index in range(PROMPTS)],
            "prompt_id": range(PROMPTS), "length": 9.0, "response": "yes",
            "gold.helpful": helpful + noise, "gold.harmless": harmless + noise,
        }
    )  # fmt: skip


def measured() -> dict[tuple[str, int], pd.DataFrame]:
    """SFT is at (.5, .5). The steered policy gains .1 per nat everywhere and goes to 2 nats.

    The specialists gain .15 per nat at their own weights, but go to 1 nat only. The fixed policy
    gains .3 in helpful and loses as much in harmless, in 2 nats.
    """
    tables: dict[tuple[str, int], pd.DataFrame] = {("sft", 0): answers(0, 1.0, 0.0, 0.5, 0.5)}
    for seed in (0, 1, 2):
        tables["heads", seed] = pd.concat(
            answers(line, kl / 2, kl, 0.5 + 0.1 * kl, 0.5 + 0.1 * kl)
            for line in (0, 1)
            for kl in (1.0, 2.0)
        )
        for line in (0, 1):
            tables[f"dpo_w{line}", seed] = pd.concat(
                answers(line, kl, kl, 0.5 + 0.15 * kl, 0.5 + 0.15 * kl) for kl in (0.5, 1.0)
            )
        tables["fixed", seed] = pd.concat(
            answers(0, kl / 2, kl, 0.5 + 0.15 * kl, 0.5 - 0.15 * kl) for kl in (1.0, 2.0)
        )
    return tables


@pytest.fixture
def curves() -> Curves:
    return Curves(study(), CELLS, VARIANTS, measured())


def test_policies_are_compared_at_the_smaller_kl(curves: Curves) -> None:
    """At 1 nat, the steered policy has gained .1 and the specialist .15."""
    one = gap(curves.of["dpo", "values", 0], curves.of["heads", "values", 0])
    np.testing.assert_allclose(one.values, 0.05)
    np.testing.assert_allclose(one.draws, 0.05, atol=1e-9)


def test_a_policy_that_cannot_be_steered_is_compared_at_all_weights(curves: Curves) -> None:
    figures = regrets(curves)["regret"]["fixed"]
    assert [cell["regret"] for cell in figures["cells"]] == pytest.approx([0.1, -0.5])
    assert figures["domains"]["values"]["worst"] == pytest.approx(0.1)
    assert (figures["rival_better"], figures["steered_better"]) == (1, 1)


def test_the_best_rival_is_chosen_at_each_weight_vector(curves: Curves) -> None:
    best = regrets(curves)["regret"][BEST]
    assert [cell["regret"] for cell in best["cells"]] == pytest.approx([0.1, 0.05])
    assert best["overall"]["regret"] == pytest.approx(0.075)


def test_a_policy_against_itself_has_no_regret() -> None:
    itself = Curves(study(rivals=["heads"]), CELLS, VARIANTS, measured())
    figures = regrets(itself)
    assert figures["regret"]["heads"]["overall"] == {"regret": 0.0, "ci_low": 0.0, "ci_high": 0.0}
    assert figures["tests"]["heads"]["p"] == 1.0


def test_intervals_cover_seeds_and_prompts() -> None:
    """A policy whose trainings differ has a wider interval than one whose trainings agree."""
    tables = measured()
    for seed in (0, 1, 2):
        tables["heads", seed] = tables["heads", seed].assign(
            **{"gold.helpful": tables["heads", seed]["gold.helpful"] + 0.05 * seed}
        )
    cell = regrets(Curves(study(), CELLS, VARIANTS, tables))["regret"]["dpo"]["cells"][0]
    assert cell["regret"] == pytest.approx(0.0)
    assert cell["ci_low"] < -0.02
    assert cell["ci_high"] > 0.02


def test_nothing_is_extrapolated() -> None:
    kl, utility = np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0, 3.0])
    assert interpolate(kl, utility, np.array(0.75)) == 2.0
    assert interpolate(kl, utility, np.array(0.0)) == 0.0
    assert np.isnan(interpolate(kl, utility, np.array(1.1)))


def test_a_kl_that_falls_is_taken_as_equal() -> None:
    """Noise can make KL fall from one scale to the next."""
    kl, utility = np.array([0.0, 1.0, 0.9]), np.array([0.0, 1.0, 2.0])
    assert interpolate(kl, utility, np.array(1.0)) == pytest.approx(1.0)
    assert interpolate(kl, utility, np.array(0.5)) == pytest.approx(0.5)


def test_the_result_holds_bands_control_volumes_and_costs(curves: Curves) -> None:
    seconds = {(variant.name, seed): 10.0 for variant in VARIANTS for seed in (0, 1, 2)}
    figures = result(curves, VARIANTS, measured(), seconds)
    bands = {(b["policy"], b["line"]): b["utility"] for b in figures["bands"]}
    assert bands["heads", 0] == pytest.approx({"0.5": 0.55, "1.0": 0.6, "2.0": 0.7})
    assert bands["dpo", 0]["2.0"] is None  # the specialists only went to 1 nat
    assert figures["costs"]["dpo"] == {"trainings": 2, "cpu_seconds": 20.0}
    # heads and specialists gave the same means at both weights, so no set has two points
    assert figures["hypervolume"]["values"] == {}
    helpful = figures["control"]["values"]["helpful"]
    assert list(helpful["ranges"]) == ["heads"]
    assert helpful["ranges"]["heads"]["range"] == pytest.approx(0.0)
    assert helpful["shares"] == {}


def test_the_range_of_each_objective_beside_the_specialists() -> None:
    """Weights move the steered policy by .1 and the specialists by .2, on the same prompts."""
    tables = measured()
    for seed in (0, 1, 2):
        tables["heads", seed] = pd.concat(
            answers(line, 1.0, 1.0, 0.6 - 0.1 * line, 0.5 + 0.1 * line) for line in (0, 1)
        )
        for line in (0, 1):
            tables[f"dpo_w{line}", seed] = answers(
                line, 1.0, 1.0, 0.7 - 0.2 * line, 0.5 + 0.2 * line
            )
    figures = control(
        Curves(study(scales=[0.5, 1.0]), CELLS, VARIANTS, tables), VARIANTS, tables, "values"
    )
    for entry in figures.values():
        assert entry["kendall_tau"] == pytest.approx(1.0)
        assert entry["ranges"]["dpo"]["range"] == pytest.approx(0.2)
        share = {"share": 0.5, "ci_low": 0.5, "ci_high": 0.5}
        assert entry["shares"] == {"dpo": pytest.approx(share)}


def test_a_rival_that_does_not_move_has_no_share() -> None:
    """Dividing by a range that may be 0 would give any number."""
    tables = measured()
    for seed, shift in ((0, 0.01), (1, -0.01), (2, 0.0)):
        for line in (0, 1):
            tables[f"dpo_w{line}", seed] = answers(line, 1.0, 1.0, 0.7 + shift * line, 0.5)
    figures = control(Curves(study(), CELLS, VARIANTS, tables), VARIANTS, tables, "values")
    assert figures["helpful"]["ranges"]["dpo"]["ci_low"] <= 0
    assert "dpo" not in figures["helpful"]["shares"]


def test_the_control_of_a_single_weight_vector_is_not_measured() -> None:
    tables = measured()
    one = Curves(study(weights=[{"helpful": 1.0}]), CELLS[:1], VARIANTS, tables)
    for entry in control(one, VARIANTS, tables, "values").values():
        assert np.isnan(entry["kendall_tau"])
        assert entry["ranges"]["dpo"]["range"] == 0
        assert entry["shares"] == {}
