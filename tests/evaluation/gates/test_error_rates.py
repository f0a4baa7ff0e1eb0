"""Simulations of the whole row of gates: who passes, and who is refused.

Each trial draws the answers of two models to the same prompts, and the data that both were trained
on. Sizes are those of the default recipe, and so are the margins.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from concord.evaluation.gates.data_gate import compare, data
from concord.evaluation.gates.gate_params import DataGate
from concord.evaluation.gates.quality_gates import Compared
from concord.evaluation.gates.sides import Side, front_units
from concord.evaluation.gates.verdict import verdict
from concord.objectives import Objective, objectives_of
from concord.prepared.data_figures import clustered
from concord.stage.closure import ROOT
from concord.stage.params import read, section
from tasks.gate import GateParams, rows

PARAMS = read(ROOT / "params.yaml")
GATES = section(
    GateParams, {**PARAMS["gate"], "hypervolume": {"resamples": 100}}, "gate"
)  # fewer resamples than by default, for speed
OBJECTIVES = {n: o for n, o in objectives_of(PARAMS).items() if o.in_vector}
DOMAINS = {
    domain: [name for name, objective in OBJECTIVES.items() if objective.domain == domain]
    for domain in dict.fromkeys(objective.domain for objective in OBJECTIVES.values())
}
PROMPTS, GROUPS, TRIALS = 400, 50, 25
SPREAD = 0.3
"""Standard deviation of an objective over prompts, of which both models share half the variance."""


def answers(
    noise: np.random.Generator, shared: np.ndarray, lower: dict[str, float]
) -> pd.DataFrame:
    """Judged answers with means of 0.6, less `lower`; `shared` is the part of the prompts."""
    frames = []
    for number, (domain, names) in enumerate(DOMAINS.items()):
        keys = [f"{domain}{index}" for index in range(PROMPTS)]
        groups = [f"{domain}{index % GROUPS}" for index in range(PROMPTS)]
        frame = {"split": "locked", "point": "equal", "domain": domain, "weights": "{}"}
        table = pd.DataFrame({**frame, "prompt_id": keys, "group_id": groups})
        table["kl"], table["length"] = 1.0 + noise.normal(0, 0.1, PROMPTS), 20.0
        for column, name in enumerate(names):
            private = noise.normal(0, SPREAD * np.sqrt(0.5), PROMPTS)
            values = 0.6 - lower.get(name, 0.0) + shared[number, column] + private
            table[f"gold.{name}"] = values
            table[f"proxy.{name}"] = values / SPREAD
        frames.append(table)
    return pd.concat(frames, ignore_index=True)


def figures(noise: np.random.Generator, flipped: float = 0.0) -> dict[str, Any]:
    """24 label rates per objective, from 500 pairs in 150 groups.

    Of the labels of `helpful`, the share `flipped` is flipped.
    """
    result = {}
    for name in OBJECTIVES:
        for word in range(24):
            right = 0.35 + 0.3 * word / 23
            flips = flipped if name == "helpful" else 0.0
            rate = right * (1 - flips) + (1 - right) * flips
            figure = clustered("labels", noise.random(500) < rate, noise.integers(0, 150, 500))
            assert figure is not None
            result[f"{name} {word}"] = vars(figure)
    return result


def accepted(seed: int, lower: dict[str, float], flipped: float = 0.0) -> dict[str, Any]:
    """The verdict on a candidate that is worse than the champion by `lower`."""
    noise = np.random.default_rng(seed)
    shared = noise.normal(0, SPREAD * np.sqrt(0.5), (len(DOMAINS), 3, PROMPTS))
    sides = []
    for loss, flips in ((lower, flipped), ({}, 0.0), ({}, 0.0)):
        samples = answers(noise, shared, loss)
        units = front_units(samples, DOMAINS)
        conditions = {"protocol": "sandbox"}
        asked = {"at_least": {"helpful": 1.9}, "max_kl": 1.02}
        sides.append(Side("model", conditions, samples, units, figures(noise, flips), asked))
    compared = Compared(sides[0], sides[1], sides[2], OBJECTIVES)
    return verdict("model", [*rows(GATES, compared, {}, 0.0)])


@pytest.fixture(autouse=True)
def candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate of the checks reads the results of the candidate."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reports/candidate").mkdir(parents=True)
    (tmp_path / "reports/candidate/results.json").write_text("{}", encoding="utf-8")


def test_an_equal_candidate_passes_all_gates() -> None:
    """Every gate but `checks` is tested."""
    verdicts = [accepted(seed, {}) for seed in range(TRIALS)]
    tested = {row["name"] for row in verdicts[0]["gates"] if row["holds"] is not None}
    assert tested == {
        *("comparable", "objectives", "verifiers", "hypervolume", "constraints", "hacking", "data")
    }
    share = np.mean([each["accepted"] for each in verdicts])
    print(f"an equal candidate passes in {share:.0%} of {TRIALS} trials")
    assert share >= 0.9


@pytest.mark.parametrize("name", ["harmless", "math_accuracy"])
def test_a_loss_of_twice_the_margin_is_refused(name: str) -> None:
    """By the test of its own mean, whatever the other gates say. All of ten trials."""
    gate = "verifiers" if OBJECTIVES[name].verifier else "objectives"
    margin = getattr(GATES, gate).margin_of(name)
    for seed in range(10):
        result = accepted(seed, {name: 2 * margin})
        [row] = [row for row in result["gates"] if row["name"] == gate]
        assert not row["holds"]
        assert not result["accepted"]


def test_flipped_labels_of_one_objective_are_noticed() -> None:
    """All labels, and half of them as if a poisoned delivery had been appended."""
    for share, least in ((1.0, 1.0), (0.7, 0.9)):
        noise = np.random.default_rng(0)
        sides = [
            Side("model", {}, pd.DataFrame(), None, figures(noise, flips))
            for _ in range(20)
            for flips in (share, 0.0)
        ]
        verdicts = [
            data(GATES.data, *pair, None) for pair in zip(sides[::2], sides[1::2], strict=True)
        ]
        assert np.mean([row.holds is False for row in verdicts]) >= least
        assert all("helpful" in row.why for row in verdicts if not row.holds)


def test_trifles_in_huge_data_and_chance_in_small_data_are_accepted() -> None:
    one = {"kind": "labels", "mean": 0.5, "error": 1e-4, "rows": 10**8, "groups": 10**8}
    huge = compare(DataGate(), {"x": {**one, "mean": 0.59}}, {"x": one})
    assert huge["x"]["holds"]
    assert not compare(DataGate(), {"x": {**one, "mean": 0.61}}, {"x": one})["x"]["holds"]
    small = {**one, "error": 0.1, "rows": 20, "groups": 12}
    assert compare(DataGate(), {"x": {**small, "mean": 0.75}}, {"x": small})["x"]["holds"]


def test_holm_accounts_for_the_number_of_figures() -> None:
    """A change of 3.2 standard errors beyond the margin: enough for one figure, not for 300."""
    one = {"kind": "labels", "mean": 0.5, "error": 0.02, "rows": 10**4, "groups": 10**4}
    changed = {**one, "mean": 0.6 + 3.2 * 0.02 * np.sqrt(2)}
    assert not compare(DataGate(), {"x": changed}, {"x": one})["x"]["holds"]
    others = {f"y{index}": one for index in range(300)}
    assert compare(DataGate(), {"x": changed, **others}, {"x": one, **others})["x"]["holds"]


def test_an_objective_that_is_new_is_not_compared() -> None:
    assert isinstance(OBJECTIVES["helpful"], Objective)
    figure = {"kind": "labels", "mean": 0.5, "error": 0.02, "rows": 99, "groups": 99}
    assert list(compare(DataGate(), {"new": figure, "x": figure}, {"x": figure})) == ["x"]
