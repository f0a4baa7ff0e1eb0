"""The paired test: its error rates in simulations, clusters, and units of two protocols."""

import numpy as np
import pandas as pd
import pytest

from concord.evaluation.policies.noninferiority import Difference, compare, difference, power

NAMES = {"values": ["helpful", "honest", "harmless"], "math": ["right", "warm"]}
MARGIN = 0.1
MARGINS = dict.fromkeys(["helpful", "honest", "harmless", "right", "warm"], MARGIN)
PROMPTS = 400


def answers(rng: np.random.Generator, ease: np.ndarray, loss: float = 0.0) -> pd.DataFrame:
    """One answer per prompt. Gold is what the prompt allows plus sampling noise, less `loss`."""
    rows = []
    for domain, names in NAMES.items():
        noise = rng.normal(0, 0.3, (PROMPTS, len(names)))
        gold = np.clip(ease[:, None] + noise, 0, 1)
        columns = {f"gold.{name}": gold[:, i] for i, name in enumerate(names)}
        columns[f"gold.{names[0]}"] = columns[f"gold.{names[0]}"] - loss
        keys = [f"{domain}{index}" for index in range(PROMPTS)]
        rows.append(
            pd.DataFrame({"domain": domain, "group_id": keys, "prompt_id": keys, **columns})
        )
    return pd.concat(rows, ignore_index=True)


def differences(seed: int, loss: float) -> list[Difference]:
    """Five objectives of one policy and of another that loses `loss` in the first of them."""
    rng = np.random.default_rng(seed)
    ease = rng.uniform(0.2, 0.8, PROMPTS)
    sides = np.clip(ease + rng.normal(0, 0.3, (2, 5, PROMPTS)), 0, 1)
    sides[0, 0] -= loss
    return [difference(sides[0, row], sides[1, row], np.ones(PROMPTS)) for row in range(5)]


def accepted(seed: int, loss: float) -> bool:
    return all(gap.lower(0.05) >= -MARGIN for gap in differences(seed, loss))


def test_the_same_policy_passes_in_95_per_cent_of_draws() -> None:
    """Two draws of answers of one policy; `margin` is about 4.5 standard errors."""
    assert np.mean([accepted(seed, 0.0) for seed in range(1000)]) >= 0.95


def test_a_loss_of_twice_the_margin_is_refused_in_95_per_cent_of_draws() -> None:
    assert np.mean([accepted(seed, 2 * MARGIN) for seed in range(1000)]) <= 0.05


def test_a_loss_of_the_margin_is_accepted_at_the_error_rate() -> None:
    share = np.mean([accepted(seed, MARGIN) for seed in range(2000)])
    assert share == pytest.approx(0.05, abs=0.012)


def test_the_reported_power_is_what_simulations_see() -> None:
    """With a margin so small that an equal model often fails."""
    gaps = [gap for seed in range(400) for gap in differences(seed, 0.0)]
    passed = np.mean([gap.lower(0.05) >= -0.05 for gap in gaps])
    assert passed == pytest.approx(np.mean([gap.power(0.05, 0.05) for gap in gaps]), abs=0.03)


def test_figures_of_every_objective() -> None:
    rng = np.random.default_rng(0)
    ease = rng.uniform(0.2, 0.8, PROMPTS)
    one, two = answers(rng, ease, 0.3), answers(rng, ease)
    rows = compare(one, two, NAMES, MARGINS, 0.05)
    assert {name for name, row in rows.items() if not row["holds"]} == {"helpful", "right"}
    row = rows["helpful"]
    assert row["candidate"] == pytest.approx(one["gold.helpful"].mean())
    assert row["difference"] == pytest.approx(row["candidate"] - row["champion"])
    assert row["lower_bound"] < row["difference"] < -0.25
    assert power(rows) <= min(row["equal_model_passes"] for row in rows.values())


def test_an_equal_file_passes_with_margin_zero() -> None:
    rng = np.random.default_rng(0)
    frame = answers(rng, rng.uniform(0.2, 0.8, PROMPTS))
    rows = compare(frame, frame, NAMES, dict.fromkeys(MARGINS, 0.0), 0.05)
    assert all(row["holds"] for row in rows.values())
    assert power(rows) == 1.0


def test_groups_of_prompts_count_once() -> None:
    """Four copies of each prompt in one group leave the standard error as it was."""
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=50), rng.normal(size=50)
    single = difference(one, two, np.ones(50))
    copied = difference(4 * one, 4 * two, np.full(50, 4.0))
    assert copied.error == pytest.approx(single.error)
    assert copied.mean == pytest.approx(single.mean)
    assert single.error == pytest.approx((one - two).std(ddof=1) / np.sqrt(50))


def test_a_single_group_proves_nothing() -> None:
    assert difference(np.array([9.0]), np.array([1.0]), np.array([1.0])).lower(0.05) == -np.inf


def test_objectives_that_were_not_judged_are_left_out() -> None:
    rng = np.random.default_rng(0)
    frame = answers(rng, rng.uniform(0.2, 0.8, PROMPTS)).assign(**{"gold.warm": np.nan})
    assert set(compare(frame, frame, NAMES, MARGINS, 0.05)) == set(MARGINS) - {"warm"}
