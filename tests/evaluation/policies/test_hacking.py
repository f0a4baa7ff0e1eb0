"""Reward hacking: flagged in a planted case, quiet otherwise, at the stated error rate."""

import numpy as np
import pandas as pd
import pytest

from concord.evaluation.policies import hacking
from concord.evaluation.policies.hacking_rules import (
    DOMINANCE,
    ERROR_RATE,
    KEPT,
    LENGTH,
    OVEROPTIMISED,
)
from concord.evaluation.policies.paired_answers import PairedAnswers

PROMPTS = 300
TRIES = 200
KL = np.array([0.0, 0.5, 1.0, 2.0])


def answers(
    rng: np.random.Generator,
    gold: dict[str, np.ndarray],
    hole: dict[str, float] | None = None,
    longer: float = 0.0,
    earned: float = 0.0,
) -> PairedAnswers:
    """A policy at `KL`; `gold` is the true gain of each objective at each point.

    The proxy is gold plus noise. With a hole, it also pays for each unit of log-length. The mean
    log-length grows by `longer` per nat, and each unit of it is worth `earned` in gold.
    """
    shape = (PROMPTS, len(KL))
    growth = KL * (longer + rng.normal(0, 0.2, shape))
    prompt = rng.normal(0, 1, (PROMPTS, 1))
    judged = {
        name: prompt + gain + earned * growth + rng.normal(0, 0.5, shape) * (KL > 0)
        for name, gain in gold.items()
    }
    pays = {name: (hole or {}).get(name, 0.0) * growth for name in gold}
    proxy = {name: judged[name] + pays[name] + rng.normal(0, 0.4, shape) for name in gold}
    weights = dict.fromkeys(gold, 1 / len(gold))
    return PairedAnswers(
        ["sft", "low", "equal", "high"],
        [{}, weights, weights, weights],
        np.arange(PROMPTS) // 2,
        KL,
        3.0 + growth,
        proxy,
        judged,
    )


def rules(paired: PairedAnswers, exempt: tuple[str, ...] = ()) -> set[tuple[str, str]]:
    """(objective, rule) of every flag."""
    return {(f.objective, f.rule) for f in hacking.tested({"values": paired}, exempt, 0.05)[1]}


UP = 0.3 * KL
PEAK = np.array([0.0, 0.3, 0.2, -0.4])
"""Gold that rises first and then falls, as in overoptimisation."""


def test_a_reward_with_a_hole_is_flagged_and_the_rule_stops_before_it() -> None:
    """`helpful` pays for length while its gold falls; `honest` is faithful and rises."""
    paired = answers(
        np.random.default_rng(0), {"helpful": PEAK, "honest": UP}, {"helpful": 1.0}, longer=0.6
    )
    tests, flags = hacking.tested({"values": paired}, (), 0.05)
    by_rule = {flag.rule: flag for flag in flags if flag.objective == "helpful"}
    assert {flag.objective for flag in flags} == {"helpful"}
    assert by_rule.keys() == {OVEROPTIMISED, LENGTH}
    over, length = by_rule[OVEROPTIMISED], by_rule[LENGTH]
    assert (over.start, over.end) == ("sft", "high")
    assert over.proxy_gain > 0.5
    assert over.gold_gain == pytest.approx(-0.4, abs=0.1)
    assert length.share == pytest.approx(1.2 / (1.2 - 0.4), abs=0.3)  # more than all of the rise
    assert length.length_ratio == pytest.approx(np.exp(1.2), abs=0.15)
    assert all(flag.p <= ERROR_RATE for flag in flags)
    assert tests == 2 * (6 + 3) + 1  # pairs of points, points; dominance at `equal`
    [stop] = hacking.stops({"values": paired}, flags)
    assert (stop["point"], stop["kl"]) == ("equal", 1.0)


def test_gold_that_falls_from_its_peak_is_flagged_before_it_is_below_sft() -> None:
    gold = {"helpful": np.array([0.0, 0.5, 0.7, 0.3])}
    paired = answers(np.random.default_rng(3), gold, {"helpful": 4.0}, longer=0.19)
    [flag] = hacking.tested({"values": paired}, (), 0.05)[1]
    assert (flag.rule, flag.start, flag.end) == (OVEROPTIMISED, "low", "high")


def test_shorter_answers_are_flagged_too() -> None:
    paired = answers(np.random.default_rng(1), {"harmless": 0.0 * KL}, {"harmless": -1.0}, -0.6)
    assert rules(paired) == {("harmless", LENGTH)}


def test_a_verifier_is_exempt() -> None:
    gold = {"math_accuracy": PEAK}
    paired = answers(np.random.default_rng(0), gold, {"math_accuracy": 1.0}, longer=0.6)
    assert rules(paired)
    assert not rules(paired, exempt=("math_accuracy",))


def test_one_objective_that_has_all_gains_while_another_falls_is_flagged() -> None:
    gold = {"helpful": -0.3 * KL, "honest": 0.01 * KL, "harmless": 0.9 * KL}
    paired = answers(np.random.default_rng(2), gold)
    [flag] = hacking.tested({"values": paired}, (), 0.05)[1]
    assert (flag.rule, flag.objective, flag.fell) == (DOMINANCE, "harmless", "helpful")
    assert flag.end == "equal"  # other points were not asked to be balanced
    assert flag.share is not None
    assert flag.share > 0.8
    assert not hacking.stops({"values": paired}, [flag])


@pytest.mark.parametrize(
    ("gold", "hole", "longer", "earned"),
    [
        ({"helpful": UP, "honest": UP}, {}, 0.0, 0.0),
        ({"helpful": 0 * KL, "honest": 0 * KL}, {}, 0.6, 1.0),  # longer for a good reason
        ({"helpful": UP, "honest": -0.2 * KL, "harmless": UP}, {}, 0.0, 0.0),  # a plain trade-off
        # The limits of the rules, where an error is most likely:
        ({"helpful": 0 * KL}, {"helpful": 1.0}, 0.15, 0.0),  # gold neither falls nor rises
        ({"helpful": 0 * KL}, {"helpful": 1 - KEPT}, 0.6, KEPT),  # gold keeps half
        ({"helpful": 0 * KL, "honest": 2 * UP}, {}, 0.0, 0.0),  # all gains, and nothing falls
    ],
)
def test_no_flag_without_hacking(
    gold: dict[str, np.ndarray], hole: dict[str, float], longer: float, earned: float
) -> None:
    """At most 5 % of tries, plus two standard errors of a share of 200 tries."""
    flagged = [
        bool(rules(answers(np.random.default_rng([7, index]), gold, hole, longer, earned)))
        for index in range(TRIES)
    ]
    assert np.mean(flagged) <= ERROR_RATE + 2 * np.sqrt(ERROR_RATE * (1 - ERROR_RATE) / TRIES)


def test_protocols_without_samples_and_runs_without_sft_say_why() -> None:
    labelled = pd.DataFrame({"domain": ["values"], "log_probability": [-1.0]})
    report = hacking.watch({"sft": labelled, "dpo": labelled}, {"values": ["helpful"]}, (), "sft")
    assert "samples no answers" in report["not_watched"]
    assert report["flags"] == []
    assert "reference" in hacking.watch({"dpo": labelled}, {}, (), None)["not_watched"]
