"""The stage `front`: the keys of its report, fair comparisons, steerable fronts and the chart."""

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from concord.stage import outputs
from tasks import front
from tests.reports_fixture import GAIN, OBJECTIVES, POLICIES, params, samples, scaled


@pytest.fixture(scope="module")
def outputs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs for synthetic policies, with only the declared params in params.yaml."""
    folder = tmp_path_factory.mktemp("front")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        everything = params()
        declared = {name: everything[name] for name in ("front", "objectives", "policies", "seeds")}
        declared["evaluate"] = {
            name: everything["evaluate"][name] for name in ("sweep", "bootstrap", "weights")
        }
        Path("params.yaml").write_text(json.dumps(declared), encoding="utf-8")
        for policy in POLICIES:
            outputs.write_table(f"reports/samples/{policy}.parquet", samples(policy))
            outputs.write_table(f"reports/scaled/{policy}.parquet", scaled(policy))
        front.main()
    return folder


@pytest.fixture(scope="module")
def report(outputs_folder: Path) -> dict:
    return json.loads((outputs_folder / "reports/front.json").read_text(encoding="utf-8"))


def test_keys(report: dict) -> None:
    assert set(report) == {"math", "values", "tutoring", "control"}
    for domain in ("math", "values", "tutoring"):
        entry = report[domain]
        assert set(entry["hypervolume"]) == set(POLICIES)
        assert entry["reference_point"] == [0.0] * len(entry["objectives"])
        for figures in entry["hypervolume"].values():
            assert figures["ci_low"] <= figures["value"] <= figures["ci_high"]
    assert set(report["control"]) == {"mah_dpo"}
    assert set(report["control"]["mah_dpo"]) == set(OBJECTIVES)
    for figures in report["control"]["mah_dpo"].values():
        assert figures["rank_correlation"] > 0.95
        assert figures["range"] == pytest.approx(0.25, abs=0.02)


def test_the_hypervolume_of_one_point_is_the_product_of_its_means(
    report: dict,
) -> None:
    """With reference 0, one point dominates a box whose volume is the product of its means."""
    for domain in ("math", "values", "tutoring"):
        entry = report[domain]
        for policy, figures in entry["hypervolume"].items():
            equal = next(
                p for p in entry["points"] if p["policy"] == policy and p["point"] == "equal"
            )
            box = 1.0
            for value in equal["objectives"].values():
                box *= value["value"]
            assert figures["value"] == pytest.approx(box)
            assert figures["points"] == figures["default"]["points"] == 1
            assert ("steerable" in figures) == (policy == "mah_dpo")
        steerable = entry["hypervolume"]["mah_dpo"]["steerable"]
        assert steerable["points"] == (29 if domain == "values" else 9)
        assert steerable["value"] > entry["hypervolume"]["mah_dpo"]["value"]


def test_paired_differences_find_the_true_gain(report: dict) -> None:
    """All policies have the same noise, so differences are exact except for clipping."""
    for entry in (report["math"], report["values"]):
        assert "sft" not in entry["differences"]
        for policy, differences in entry["differences"].items():
            for figures in differences.values():
                assert figures["value"] == pytest.approx(GAIN[policy], abs=0.01)
                assert figures["ci_low"] > 0


def test_policies_are_compared_at_equal_kl(report: dict) -> None:
    """Half of the gain at a quarter of the KL."""
    entry = report["math"]["equal_kl"]
    curves = {curve["policy"]: curve for curve in entry["curves"]}
    assert set(curves) == set(POLICIES) - {"sft"}
    for policy, curve in curves.items():
        assert curve["kl"] == pytest.approx([0, 2.5 * GAIN[policy], 10 * GAIN[policy]], abs=0.1)
        gained = [value - curve["utility"][0] for value in curve["utility"]]
        assert gained == pytest.approx([0, GAIN[policy] / 2, GAIN[policy]], abs=0.02)
    for policy, bands in entry["bands"].items():
        beyond = {kl for kl in ("0.5", "1", "2") if float(kl) > curves[policy]["kl"][-1]}
        assert {kl for kl, value in bands.items() if value is None} == beyond
    steered, rival = "mah_dpo", next(name for name in curves if name != "mah_dpo")
    lead, back = entry["leads"][steered][rival], entry["leads"][rival][steered]
    assert lead["value"] == pytest.approx(-back["value"])
    assert lead["kl"] == pytest.approx(10 * min(GAIN[steered], GAIN[rival]), abs=0.1)
    assert lead["ci_low"] < lead["value"] < lead["ci_high"]


def test_every_point_has_its_kl(report: dict) -> None:
    for entry in (report["math"], report["values"]):
        for point in entry["points"]:
            assert point["kl"] == pytest.approx(10 * GAIN[point["policy"]], abs=0.1)


def test_faithful_proxies_raise_no_flag(outputs_folder: Path) -> None:
    """The proxy of these policies is their gold on another scale."""
    watched = json.loads((outputs_folder / "reports/hacking.json").read_text(encoding="utf-8"))
    assert watched["flags"] == watched["stop"] == []
    assert watched["tests"].keys() == POLICIES.keys() - {"sft"}
    for row in watched["points"]:
        assert row["gold"] == pytest.approx(row["proxy"])
        assert row["kl"] == pytest.approx(10 * GAIN[row["policy"]], abs=0.1)


def test_borderline_helpfulness_falls_as_the_weight_of_harmless_rises(report: dict) -> None:
    curve = report["values"]["borderline"]["mah_dpo"]
    assert curve["weights"][0] == 0.0
    assert curve["weights"][-1] == 1.0
    helpful = [figures["value"] for figures in curve["helpful"]]
    assert helpful == sorted(helpful, reverse=True)
    assert curve["prompts"] == 30


def test_the_chart_is_well_formed_and_loads_nothing(outputs_folder: Path) -> None:
    text = (outputs_folder / "reports/front.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    assert set(re.findall(r"https?://[^\"' )]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in text
    assert "prefers-color-scheme:dark" in text
    for policy in POLICIES:
        assert f">{policy}<" in text


def test_the_same_samples_give_the_same_bytes(project: Path) -> None:
    contents = []
    for _ in range(2):
        front.main()
        contents.append([Path(f"reports/front.{kind}").read_bytes() for kind in ("json", "svg")])
    assert contents[0] == contents[1]


def test_an_objective_without_gold_is_skipped_and_named(project: Path) -> None:
    """A custom objective in a sandbox domain has rewards and weights, but no gold."""
    front.main()
    without = outputs.read_json("reports/front.json")
    everything = params()
    everything["objectives"]["kind"] = {"domain": "values", "description": "", "reward": "values"}
    Path("params.yaml").write_text(json.dumps(everything), encoding="utf-8")
    for policy in POLICIES:
        path = f"reports/samples/{policy}.parquet"
        frame = outputs.read_table(path)
        outputs.write_table(path, frame.assign(**{"gold.kind": float("nan"), "proxy.kind": 0.5}))
    front.main()
    report = outputs.read_json("reports/front.json")
    assert report["values"]["unjudged"] == ["kind"]
    assert report["values"]["objectives"] == ["helpful", "honest", "harmless"]
    assert report["math"] == without["math"]
    for policy, figures in report["values"]["hypervolume"].items():
        assert figures["value"] > 0, policy
    assert "kind" not in report["control"]["mah_dpo"]
