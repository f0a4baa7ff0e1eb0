"""The stage `gate`: the row of every gate, champions, what is not comparable."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from concord.evaluation.gates.gate_params import (
    ChecksGate,
    ConstraintsGate,
    DataGate,
    HackingGate,
    HypervolumeGate,
    MeansGate,
)
from concord.evaluation.gates.sides import front_units
from concord.evaluation.gates.verdict import means_of, summary
from concord.evaluation.metrics import wilson
from concord.prepared.check_params import Check
from concord.prepared.label_keys import all_keys
from concord.stage import outputs
from concord.stage.errors import DataError
from tasks import gate

CHAMPION = Path("models/champion")
CONDITIONS = {"protocol": "sandbox", "locked_seed": 1}
NAMES = ("helpful", "harmless")
CHECKS = {"over_refusal": Check("contrast", "harmless", 0.7)}
PARAMS = {
    "objectives": {
        name: {"domain": "values", "description": "", "reward": "values"} for name in NAMES
    },
    "select": {"reference": "sft"},
}


def samples(helpful: float, harmless: float, prompts: int = 100, point: str = "x") -> pd.DataFrame:
    """Answers with these means. All models share the noise of the prompts but for a tenth of it."""
    noise = np.random.default_rng(0).normal(0, 0.2, prompts)
    rest = np.random.default_rng(int(1000 * helpful)).normal(0, 0.02, prompts)
    keys = [f"p{index}" for index in range(prompts)]
    spread = noise - noise.mean() + rest - rest.mean()
    return pd.DataFrame(
        {
            "split": "locked",
            "point": point,
            "domain": "values",
            "prompt_id": keys,
            "group_id": keys,
            "weights": '{"helpful": 0.5, "harmless": 0.5}',
            "kl": 1.0,
            "length": 20.0,
            **{f"{kind}.helpful": helpful + spread for kind in ("gold", "proxy")},
            **{f"{kind}.harmless": harmless + spread for kind in ("gold", "proxy")},
        }
    )


def write(folder: Path, frame: pd.DataFrame, name: str = "a model", **conditions: Any) -> None:
    """A model whose policy has the point `equal` alone."""
    outputs.write_table(folder / "samples.parquet", frame)
    units = front_units(frame.assign(point="equal"), {"values": NAMES})
    outputs.write_table(folder / "front.parquet", units)
    content = {"name": name, "conditions": CONDITIONS | conditions}
    outputs.write_json(folder / "results.json", content)


@pytest.fixture(autouse=True)
def candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The candidate has helpful .50 and harmless .60, the SFT model .45 and .50."""
    monkeypatch.chdir(tmp_path)
    CHAMPION.mkdir(parents=True)
    write(Path("reports/candidate"), samples(0.5, 0.6))
    validation = samples(0.9, 0.9).assign(split="validation")
    swept = samples(0.9, 0.9, point="helpful=1.000")
    sft = pd.concat([samples(0.45, 0.5, point="equal"), validation, swept])
    outputs.write_table("reports/samples/sft.parquet", sft)
    outputs.write_json("reports/policies/sft.json", {"conditions": CONDITIONS})


def verdict(
    margin: float = 0.05,
    hacking: bool = True,
    gates: dict[str, Any] | None = None,
    **margins: float,
) -> dict[str, Any]:
    """The verdict with these margins of the means; `hacking`: whether a sign refuses."""
    params = gate.GateParams(
        champion=str(CHAMPION),
        objectives=MeansGate(margin=margin, margins=margins),
        hacking=HackingGate(required=hacking),
        **(gates or {}),
    )
    result = gate.run(params, PARAMS, {}, 0.0)
    assert outputs.read_json("reports/gate.json") == result
    return result


def row(result: dict[str, Any], name: str) -> dict[str, Any]:
    [only] = [row for row in result["gates"] if row["name"] == name]
    return dict(only)


def test_without_a_champion_the_sft_model_is_the_champion() -> None:
    result = verdict()
    assert result["verdict"] == "accepted: no objective is worse than sft by more than its margin"
    assert result["champion"] == "sft"
    assert means_of(result)["helpful"]["champion"] == pytest.approx(0.45)
    assert means_of(result)["harmless"]["difference"] == pytest.approx(0.1)


def test_margins() -> None:
    """`helpful` falls by .03 with a standard error of .003; `harmless` rises."""
    write(CHAMPION, samples(0.53, 0.55), "the champion")
    refused = verdict(helpful=0.02)
    assert not refused["accepted"]
    assert refused["verdict"].startswith(
        "refused: may be worse than the champion by more than its margin: helpful -0.030, at worst"
    )
    assert means_of(refused)["harmless"]["holds"]
    assert verdict(helpful=0.04)["accepted"]
    assert not verdict(helpful=0.031)["accepted"]  # the bound counts, not the mean


def test_a_published_candidate_can_be_the_next_champion() -> None:
    for name in ("results.json", "samples.parquet", "front.parquet"):
        CHAMPION.joinpath(name).write_bytes(Path("reports/candidate", name).read_bytes())
    result = verdict(margin=0.0)
    assert result["accepted"]
    assert result["champion"] == "a model"


def test_other_conditions_and_other_prompts_are_refused() -> None:
    write(CHAMPION, samples(0.1, 0.1), locked_seed=2)
    result = verdict()
    assert not result["accepted"]
    assert not row(result, "comparable")["holds"]
    assert {gate["name"] for gate in result["gates"]}.isdisjoint({"objectives", "hypervolume"})
    assert "locked_seed is 1, was 2" in result["verdict"]
    write(Path("reports/candidate"), samples(0.1, 0.1).iloc[:49])
    assert "the candidate answered 49 of its 100 prompts of values" in verdict()["verdict"]


def test_a_test_split_that_grew_is_compared_on_the_prompts_of_both() -> None:
    """The candidate is worse on the prompts of both, and better on its own ones alone."""
    names = [f"p{index}" for index in range(100)]
    champion, candidate = samples(0.6, 0.6), samples(0.5, 0.6)
    own = candidate["prompt_id"].isin(names[90:])
    candidate.loc[own, "gold.helpful"] += 5.0
    write(CHAMPION, champion[champion["prompt_id"].isin(names[:90])], "the champion")
    write(Path("reports/candidate"), candidate)
    grown = verdict()
    both = {"candidate": 100, "champion": 90, "both": 90}
    assert row(grown, "comparable")["figures"] == {"values": both}
    assert "the prompts that both answered: 90 in values" in row(grown, "comparable")["why"]
    assert "helpful -0.1" in grown["verdict"]
    assert row(grown, "hypervolume")["figures"]["values"]["change"] < -0.1
    write(Path("reports/candidate"), candidate[~own])
    alone = verdict()
    for name in ("objectives", "hypervolume"):
        assert row(alone, name) == row(grown, name)


def test_a_candidate_that_hacks_a_reward_is_refused() -> None:
    """The proxy of `helpful` rises while gold falls by less than its margin."""
    hacked = samples(0.42, 0.6)
    hacked["proxy.helpful"] += 0.3
    write(Path("reports/candidate"), hacked)
    result = verdict(margin=0.1)
    assert not result["accepted"]
    assert "refused: signs of reward hacking: overoptimised on helpful" in result["verdict"]
    assert list(row(result, "hacking")["figures"]) == ["overoptimised on helpful"]
    reported = verdict(margin=0.1, hacking=False)
    assert reported["accepted"]
    assert "despite signs of reward hacking: overoptimised on helpful" in reported["verdict"]
    longer = samples(0.45, 0.6).assign(length=lambda table: 60.0 * table["proxy.helpful"].rank())
    longer["proxy.helpful"] += np.log(longer["length"])
    write(Path("reports/candidate"), longer)
    assert "length on helpful" in verdict(margin=0.1)["verdict"]


def test_a_candidate_that_cannot_be_watched_is_judged_without() -> None:
    """The SFT model answered other prompts than the candidate and the champion."""
    write(CHAMPION, samples(0.45, 0.5), "the champion")
    outputs.write_table("reports/samples/sft.parquet", samples(0.4, 0.4, 99, point="equal"))
    result = verdict()
    assert result["accepted"]
    assert "1 prompts are answered by only one" in row(result, "hacking")["why"]


def test_a_candidate_without_judged_objectives_is_refused() -> None:
    blank = samples(0.5, 0.6).assign(**{"gold.helpful": np.nan, "gold.harmless": np.nan})
    write(Path("reports/candidate"), blank)
    write(CHAMPION, blank)
    assert verdict()["verdict"] == "refused: no objective was judged"


def test_a_test_that_hardly_accepts_anything_is_reported() -> None:
    write(CHAMPION, samples(0.53, 0.6))
    lines = summary(verdict(margin=0.05, harmless=0.001))
    assert "weakest: harmless" in lines[-1]
    assert "raise evaluate.prompts or gate.objectives.margins.harmless" in lines[-1]
    assert "warning" not in "".join(summary(verdict(margin=0.5)))


def test_broken_champions_are_errors() -> None:
    (CHAMPION / "results.json").write_text('{"objectives":', encoding="utf-8")
    with pytest.raises(
        DataError, match=r"cannot be read: .* is damaged .* Restore models/champion"
    ):
        verdict()
    (CHAMPION / "results.json").write_text('{"policy": "x"}', encoding="utf-8")
    with pytest.raises(DataError, match="is not the result of a candidate"):
        verdict()


def measured(share: float) -> dict[str, Any]:
    """The figures of the check for a share of 40 prompts."""
    interval = wilson(share, 40).named("share")
    return {"over_refusal": {"objective": "harmless", **interval, "pairs": 40, "prompts": 40}}


def with_checks(candidate: float, head: float, required: bool) -> Any:
    """The verdict on a candidate that is better than the SFT model, with these shares."""
    results = outputs.read_json("reports/candidate/results.json")
    outputs.write_json("reports/candidate/results.json", {**results, "checks": measured(candidate)})
    outputs.write_json(
        "reports/rewards/values.json",
        {"helpful": {"checks": {}}, "harmless": {"checks": measured(head)}},
    )
    params = gate.GateParams(champion=str(CHAMPION), checks=ChecksGate(required))
    return gate.run(params, PARAMS, CHECKS, 0.0)


def test_a_required_check_that_fails_refuses_the_candidate() -> None:
    refused = with_checks(0.2, 0.95, True)
    assert not refused["accepted"]
    assert refused["verdict"] == (
        "refused: failed checks: over_refusal by the candidate: 0.20 (0.10 to 0.35), must be at "
        "least 0.7"
    )
    reported = with_checks(0.2, 0.95, False)
    assert reported["accepted"]
    assert "despite failed checks: over_refusal by the candidate: 0.20" in reported["verdict"]
    assert [each["verdict"] for each in row(reported, "checks")["figures"].values()] == [
        "fails",
        "holds",
    ]


def test_a_required_check_counts_for_the_head_that_trained_the_candidate() -> None:
    refused = with_checks(0.95, 0.2, True)
    assert "over_refusal by the reward head harmless of values: 0.20" in refused["verdict"]
    assert not refused["accepted"]


def test_an_uncertain_check_refuses_nothing_and_is_printed() -> None:
    result = with_checks(0.7, 0.95, True)
    assert result["accepted"]
    assert "uncertain: over_refusal by the candidate: 0.70 (0.55 to" in "".join(summary(result))


def test_a_candidate_that_was_not_measured_on_a_check_is_an_error() -> None:
    with pytest.raises(DataError, match="no figures for the check over_refusal; run the stage"):
        gate.run(gate.GateParams(champion=str(CHAMPION)), PARAMS, CHECKS, 0.0)


def test_a_verifier_has_its_own_gate_and_margin() -> None:
    """`helpful` falls by .03, more than the margin of the objectives allows."""
    write(CHAMPION, samples(0.53, 0.55), "the champion")
    objectives = {
        **PARAMS["objectives"],
        "helpful": {"domain": "values", "description": "", "verifier": "math_answer"},
    }
    for margin, accepted in ((0.02, False), (0.04, True)):
        params = gate.GateParams(champion=str(CHAMPION), verifiers=MeansGate(margin=margin))
        result = gate.run(params, {**PARAMS, "objectives": objectives}, {}, 0.0)
        assert result["accepted"] is accepted
        assert list(row(result, "verifiers")["figures"]) == ["helpful"]
        assert list(row(result, "objectives")["figures"]) == ["harmless"]


def swept(loss: float) -> pd.DataFrame:
    """The units of a policy at three points; both ends lose `loss`, `equal` does not."""
    points = [
        samples(0.5, 0.6, point="equal"),
        samples(0.7 - loss, 0.4 - loss, point="helpful=1.000"),
        samples(0.3 - loss, 0.8 - loss, point="helpful=0.000"),
    ]
    return front_units(pd.concat(points), {"values": NAMES})


def test_a_smaller_front_is_refused_although_the_published_point_is_as_good() -> None:
    write(CHAMPION, samples(0.5, 0.6), "the champion")
    outputs.write_table(CHAMPION / "front.parquet", swept(0.0))
    for loss, accepted in ((0.0, True), (0.02, True), (0.2, False)):
        outputs.write_table("reports/candidate/front.parquet", swept(loss))
        result = verdict(gates={"hypervolume": HypervolumeGate(margin=0.1)})
        assert result["accepted"] is accepted
    assert row(result, "hypervolume")["figures"]["values"]["points"] == 3
    assert "the hypervolume may be lower than that of the champion: values -" in result["verdict"]
    write(Path("reports/candidate"), samples(0.5, 0.6))  # it cannot be steered any more
    assert not row(verdict(), "hypervolume")["holds"]
    (CHAMPION / "front.parquet").unlink()
    assert row(verdict(), "hypervolume")["why"] == "the champion has no front.parquet"


@pytest.mark.parametrize(
    ("at_least", "max_kl", "holds"),
    [
        ({"helpful": 0.45}, None, True),  # the mean proxy is 0.5
        ({"helpful": 0.6}, None, False),
        ({"harmless": "sft + 0.05"}, None, True),  # it is 0.1 above the SFT model
        ({"harmless": "sft + 0.2"}, None, False),
        ({}, 1.05, True),  # the KL is 1
        ({}, 0.8, False),
        ({}, None, None),
    ],
)
def test_constraints_are_tested_on_held_out_prompts(
    at_least: dict[str, Any], max_kl: float | None, holds: bool | None
) -> None:
    results = outputs.read_json("reports/candidate/results.json")
    asked = {"at_least": at_least, "max_kl": max_kl}
    outputs.write_json("reports/candidate/results.json", {**results, "constraints": asked})
    result = verdict(gates={"constraints": ConstraintsGate(margin=0.02)})
    assert row(result, "constraints")["holds"] is holds
    assert result["accepted"] is (holds is not False)


def test_the_data_are_compared_with_the_champions() -> None:
    """Without the champion's figures that is said, and refuses nothing."""
    figure = {"kind": "labels", "error": 0.01, "rows": 900, "groups": 300}
    write(CHAMPION, samples(0.45, 0.5), "the champion")
    outputs.write_json(
        "reports/candidate/data.json", {"helpful: mean rating": {**figure, "mean": 0.3}}
    )
    result = verdict()
    assert result["accepted"]
    assert row(result, "data")["why"] == "the champion has no data.json"
    outputs.write_json(CHAMPION / "data.json", {"helpful: mean rating": {**figure, "mean": 0.7}})
    refused = verdict()
    assert "helpful: mean rating 0.300, was 0.700, margin 0.1" in refused["verdict"]
    assert not refused["accepted"]
    assert verdict(gates={"data": DataGate(required=False)})["accepted"]


def test_new_labels_are_compared_alone() -> None:
    """The ratings that the champion's data do not have are low; one tenth of all is new."""
    figure = {"kind": "labels", "error": 0.01, "rows": 900, "groups": 300}
    write(CHAMPION, samples(0.45, 0.5), "the champion")
    for folder, mean in ((Path("reports/candidate"), 0.65), (CHAMPION, 0.7)):
        content = {"helpful: mean rating": {**figure, "mean": mean}}
        outputs.write_json(folder / "data.json", content)
    assert "because the champion has no labels.parquet" in row(verdict(), "data")["why"]
    groups = [f"g{index}" for index in range(300)]
    ratings = pd.DataFrame({"row_id": groups, "group_id": groups, "kind": "rating"})
    ratings = ratings.assign(objective="helpful", rating=[0.7] * 270 + [0.2] * 30)
    votes = {"messages": [[]] * 300, "response": groups, "annotator": "ada"}
    ratings = ratings.assign(**votes, scale_low=1.0, scale_high=5.0)
    texts = ["messages", "group_id", "objective", "annotator", "chosen", "rejected", "origin"]
    none = pd.DataFrame({name: pd.Series(dtype=object) for name in texts})
    steps = pd.DataFrame({name: [] for name in ("row_id", "objective", "labels", "group_id")})
    for split, part in (("train", ratings), ("validation", ratings[:0]), ("test", ratings[:0])):
        for table, rows in (("ratings", part), ("pairs", none), ("steps", steps)):
            outputs.write_table(f"data/prepared/{table}/{split}.parquet", rows)
    known = {"ratings": ratings[:270], "pairs": none, "steps": steps}
    outputs.write_table(CHAMPION / "labels.parquet", all_keys(known))
    refused = verdict()
    assert "new labels, helpful: mean rating 0.200, was 0.700, margin 0.25" in refused["verdict"]
    assert verdict(gates={"data": DataGate(new_labels=0.6)})["accepted"]
    known["ratings"] = ratings
    outputs.write_table(CHAMPION / "labels.parquet", all_keys(known))
    assert "no label is new" in row(verdict(), "data")["why"]
