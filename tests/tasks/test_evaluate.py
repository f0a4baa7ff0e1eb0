"""`evaluate` and `evaluate_rewards` end to end: tiny untrained models, both protocols."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from concord.lm.load import load_tokenizer
from concord.policies.model import MultiHeadCausalLM
from concord.prepared.splits import SPLITS
from concord.rewards.outcome import reward_model as outcome
from concord.rewards.process import process_model as process
from concord.rewards.vector.anchors import Anchor, Anchors
from concord.sandbox.world import World
from concord.stage import outputs
from concord.steering import steered
from tasks import candidate, evaluate, evaluate_rewards, front
from tasks import select_weights as select
from tests.tasks.resuming import check_resume

VALUES = ["helpful", "honest", "harmless"]


def params(protocol: str) -> dict[str, Any]:
    """The params that the two stages declare, with objectives of the domain `values` only."""
    entry = {"domain": "values", "description": "", "reward": "values"}
    return {
        "seeds": {"data": 0, "sampling": 0},
        "runtime": {"threads": 1, "device": "cpu", "dtype": "float32"},
        "model": {"max_length": 256},
        "objectives": dict.fromkeys(VALUES, entry),
        "reward_models": {"values": {}},
        "process_reward": {},
        "evaluate": {
            "protocol": protocol,
            "locked_seed": 1,
            "prompts": 6,
            "validation_prompts": 3,
            "weights": {"helpful": 1.0, "honest": 2.0, "harmless": 1.0},
            "sweep": 3,
            "max_new_tokens": 4,
            "bootstrap": 20,
            **({"scales": [0.25, 0.5]} if protocol == "sandbox" else {}),
            **({"judge": {"folds": 2}} if protocol == "judged" else {}),
        },
        "evaluate_rewards": {"pairs": 12, "prompts": 4, "samples": 2, "max_new_tokens": 4},
    }


@pytest.fixture
def chain(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with untrained models instead of trained ones, and small prepared tables."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(json.dumps(params("sandbox")), encoding="utf-8")
    shutil.copytree(tiny_model, "models/sft")
    shutil.copytree(tiny_model, "models/policies/sft")
    shutil.copytree(tiny_model, "models/policies/mah_dpo")
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.model_max_length = 256
    policy = MultiHeadCausalLM.from_sft(tiny_model, VALUES)
    with torch.no_grad():
        policy.heads[2] += 0.3 * torch.randn(
            policy.heads[2].shape, generator=torch.Generator().manual_seed(0)
        )
    shutil.rmtree("models/policies/mah_dpo")
    policy.save_pretrained("models/policies/mah_dpo")
    reward = outcome.new_model(tiny_model, VALUES, tokenizer, "cpu", "float32", 0)
    process_model = process.new_model(tiny_model, VALUES, tokenizer, "cpu", "float32", 0)
    for model, path in (
        (reward, "models/rewards/values"),
        (process_model, "models/process_reward"),
    ):
        model.save_pretrained(path)
    for path in ("models/policies/mah_dpo", "models/rewards/values", "models/process_reward"):
        tokenizer.save_pretrained(path)
    calibration = {"temperature": 0.5, "pairs": 9, "nll_before": 0.7, "nll_after": 0.6}
    outputs.write_json("models/rewards/values/calibration.json", dict.fromkeys(VALUES, calibration))
    Anchors(dict.fromkeys(VALUES, Anchor(mean=0.1, std=0.5, direction=1, n=9))).save(
        "models/anchors.json"
    )
    for fitted in ("values", "process_reward"):
        pulls = {name: {other: 0.5 for other in VALUES if other != name} for name in VALUES}
        timing = {"seconds": 1.0, "peak_mb": 2.0, "parameters": 3, "gradient_cosine": pulls}
        outputs.write_json(f"reports/timing/{fitted}.json", timing)
    _tables()
    return tmp_path


def _tables() -> None:
    prompts = World.build("dev", 0).prompts("values", 5, 0)
    rows = [
        {"messages": p.messages, "domain": "values", "reference": None, "group_id": p.group_id}
        for p in prompts
    ]
    table = pd.DataFrame(rows).assign(prompt_id=[str(index) for index in range(5)])
    for split in ("test", "validation"):
        outputs.write_table(f"data/prepared/prompts/{split}.parquet", table)
    rated = [
        {
            "messages": p.messages,
            "group_id": p.group_id,
            "response": text,
            "objective": name,
            "rating": value,
        }
        for p in prompts
        for name in VALUES
        for text, value in (("Yes.", 1.0), ("No, never.", 0.0))
    ]
    graded = pd.DataFrame(rated).assign(kind="binary")
    graded["row_id"] = [f"rating {number}" for number in range(len(graded))]
    for split, count in (("test", None), ("validation", None), ("train", 0)):
        outputs.write_table(f"data/prepared/ratings/{split}.parquet", graded[:count])
    pairs = [
        {
            "messages": p.messages,
            "group_id": p.group_id,
            "chosen": "Yes.",
            "rejected": "No.",
            "objective": name,
            "annotator": "ada",
            "origin": "comparisons",
        }
        for p in prompts
        for name in VALUES
    ]
    for split in SPLITS:  # the labels are ratings, unless a test writes others
        outputs.write_table(
            f"data/prepared/pairs/{split}.parquet", pd.DataFrame(pairs[:0], columns=list(pairs[0]))
        )
    for split in ("train", "test"):
        outputs.write_table(f"data/prepared/rewards/values/{split}.parquet", pd.DataFrame(pairs))
    steps = [
        {
            "messages": prompts[0].messages,
            "group_id": "g",
            "steps": ["a.", "b."],
            "objective": "helpful",
        }
    ]
    labels = pd.DataFrame(steps).assign(labels=[[1.0, 0.0]], label_kind="human", row_id="steps")
    for split, count in (("test", 1), ("validation", 0), ("train", 0)):
        outputs.write_table(f"data/prepared/steps/{split}.parquet", labels[:count])
    kind = pd.DataFrame(pairs).assign(check="kind_words")
    strict = kind.assign(check="strict", chosen="No.", rejected="Yes.")
    checks = pd.concat(
        [kind[kind["objective"] == "helpful"], strict[strict["objective"] == "harmless"]]
    )
    outputs.write_table("data/prepared/checks.parquet", checks)


def test_sandbox_protocol(chain: Path) -> None:
    """All points share their prompts; gold is for locked prompts only; the reference has KL 0."""
    for policy in ("sft", "mah_dpo"):
        evaluate.main(policy)
    report = outputs.read_json("reports/policies/mah_dpo.json")
    assert report["steerable"]
    assert set(report["objectives"]) == set(VALUES)
    assert set(report["sweep"]) == set(VALUES)
    assert report["prompts"] == {"values": 6}
    samples = outputs.read_table("reports/samples/mah_dpo.parquet")
    locked, validation = (samples[samples["split"] == split] for split in ("locked", "validation"))
    assert set(locked.groupby("point").size()) == {6}
    # equal, default, three weights of each; default is honest = 0.5
    assert locked["point"].nunique() == 2 + 3 * 3 - 1
    assert set(validation.groupby("point").size()) == {3}
    # a lattice with steps of a third, of which one point is equal, and default
    assert validation["point"].nunique() == 10 + 1
    assert validation[[f"gold.{name}" for name in VALUES]].isna().all(axis=None)
    assert samples[[f"proxy.{name}" for name in VALUES]].notna().all(axis=None)
    assert locked.groupby("point")["kl"].count().unique().tolist() == [6]
    world = World.build("locked", 1)
    for row in locked.head(8).to_dict("records"):
        gold = world.gold(row["messages"], row["response"])
        assert {name: row[f"gold.{name}"] for name in VALUES} == pytest.approx(gold)
    reference = outputs.read_json("reports/policies/sft.json")
    assert reference["kl"] == pytest.approx(0.0, abs=1e-5)
    assert reference["sweep"] == {}
    assert outputs.read_table("reports/samples/sft.parquet")["point"].unique().tolist() == ["equal"]


def test_answers_between_sft_and_the_policy(chain: Path) -> None:
    """At the weights `default`; SFT itself has none."""
    for policy in ("sft", "mah_dpo"):
        evaluate.main(policy)
    assert len(outputs.read_table("reports/scaled/sft.parquet")) == 0
    scaled = outputs.read_table("reports/scaled/mah_dpo.parquet")
    assert scaled.groupby("scale").size().to_dict() == {0.25: 6, 0.5: 6}
    assert json.loads(scaled["weights"].unique().item())["honest"] == 0.5
    kl = scaled.groupby("scale")["kl"].mean()
    whole = outputs.read_table("reports/samples/mah_dpo.parquet")
    end = whole.loc[(whole["split"] == "locked") & (whole["point"] == "default"), "kl"].mean()
    assert 0 < kl[0.25] < kl[0.5] < end
    assert scaled[[f"gold.{name}" for name in VALUES]].notna().all(axis=None)


def test_sandbox_protocol_twice_gives_the_same_bytes(chain: Path) -> None:
    files = [Path("reports/policies/mah_dpo.json"), Path("reports/samples/mah_dpo.parquet")]
    contents = []
    for _ in range(2):
        evaluate.main("mah_dpo")
        contents.append([file.read_bytes() for file in files])
    assert contents[0] == contents[1]


def test_the_candidate_runs_in_the_data_type_of_its_file(
    chain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`runtime.dtype` is bfloat16 here, and the published file is float32."""
    content = {**params("likelihood"), "export": {"dtype": "float32"}, "policies": {}}
    content["runtime"] = {**content["runtime"], "dtype": "bfloat16"}
    content["select"] = {"policy": "mah_dpo", "reference": "sft"}
    Path("params.yaml").write_text(json.dumps(content), encoding="utf-8")
    weights = {"weights": dict.fromkeys(VALUES, 1.0)}
    outputs.write_json(
        "reports/select.json",
        {"policy": "mah_dpo", "strength": 1, **weights, "domains": {"values": weights}},
    )
    types: list[torch.dtype] = []

    def judge(_: Any, steered: Any, *unused: Any) -> Any:
        types.extend([steered.policy.dtype, steered.reference.dtype])
        raise StopIteration

    monkeypatch.setattr(candidate.run_protocol, "judge", judge)
    with pytest.raises(StopIteration):
        candidate.main()
    assert types == [torch.float32] * 2


@pytest.mark.parametrize("protocol", ["sandbox", "likelihood", "judged"])
def test_the_published_file_is_evaluated(chain: Path, protocol: str) -> None:
    """With equal weights of the one domain it answers like the policy's point `equal`."""
    content = {**params(protocol), "policies": {}, "export": {"dtype": "float32"}}
    content["select"] = {"policy": "mah_dpo", "reference": "sft"}
    Path("params.yaml").write_text(json.dumps(content), encoding="utf-8")
    for policy in ("sft", "mah_dpo"):
        evaluate.main(policy)
    select.main()
    candidate.main()
    results = outputs.read_json("reports/candidate/results.json")
    equal = outputs.read_json("reports/policies/mah_dpo.json")
    for name, figures in results["domains"]["values"]["objectives"].items():
        assert figures["gold_mean"] == pytest.approx(equal["objectives"][name]["gold_mean"])
    assert results["domains"]["values"]["kl"] == pytest.approx(equal["kl"], rel=1e-3)
    assert results["conditions"] == equal["conditions"]
    samples = outputs.read_table("reports/candidate/samples.parquet")
    assert set(samples["point"]) == {"candidate"}
    assert "validation" not in set(samples["split"])
    labels = outputs.read_table("reports/candidate/labels.parquet")
    assert len(labels) == 5 * len(VALUES) * 2 + 1  # validation has the ratings of test


def test_every_policy_is_measured_on_the_checks(chain: Path) -> None:
    """The two checks compare the same answers the other way round, at the same weights."""
    content = {**params("sandbox"), "policies": {}, "export": {"dtype": "float32"}}
    content["select"] = {"policy": "mah_dpo", "reference": "sft"}
    Path("params.yaml").write_text(json.dumps(content), encoding="utf-8")
    for policy in ("sft", "mah_dpo"):
        evaluate.main(policy)
    outputs.write_json(
        "reports/select.json",
        {
            "policy": "mah_dpo",
            "strength": 1,
            "at_least": {},
            "max_kl": None,
            "weights": content["evaluate"]["weights"],
            "domains": {"values": {"weights": content["evaluate"]["weights"]}},
        },
    )
    candidate.main()
    sft, heads = (
        outputs.read_json(f"reports/policies/{name}.json")["checks"] for name in ("sft", "mah_dpo")
    )
    published = outputs.read_json("reports/candidate/results.json")["checks"]
    assert published["strict"] == pytest.approx(heads["strict"])  # merged, at the same weights
    for figures in (sft, heads):
        assert figures["strict"]["share"] + figures["kind_words"]["share"] == 1
        assert figures["strict"]["likelier_sft"] == sft["strict"]["likelier"]
        assert (figures["strict"]["longer"], figures["kind_words"]["longer"]) == (0, 1)
    assert sft["strict"]["share"] == 0.5
    assert (sft["strict"]["unchanged"], heads["strict"]["unchanged"]) == (True, False)


def test_likelihood_protocol(chain: Path) -> None:
    """Ten answers to five questions give five pairs per objective; proxies are pair accuracies."""
    Path("params.yaml").write_text(json.dumps(params("likelihood")), encoding="utf-8")
    evaluate.main("mah_dpo")
    report = outputs.read_json("reports/policies/mah_dpo.json")
    questions = outputs.read_table("data/prepared/ratings/test.parquet")["group_id"].nunique()
    for figures in report["objectives"].values():
        assert figures["gold_mean"] in [index / questions for index in range(questions + 1)]
    assert report["length_baseline"] == dict.fromkeys(
        VALUES, 0.0
    )  # "Yes." is rated higher and shorter
    assert report["kl"] > 0
    for point in report["validation"]["points"]:
        assert all(0 <= value <= 1 for value in point["proxies"].values())


@pytest.mark.parametrize("protocol", ["likelihood", "judged"])
def test_a_domain_with_comparisons_alone(chain: Path, protocol: str) -> None:
    """The chosen answers are those that the ratings prefer, so the figures are the same."""
    Path("params.yaml").write_text(json.dumps(params(protocol)), encoding="utf-8")
    evaluate.main("mah_dpo")
    rated = outputs.read_json("reports/policies/mah_dpo.json")
    _comparisons_instead_of_ratings()
    evaluate.main("mah_dpo")
    compared = outputs.read_json("reports/policies/mah_dpo.json")
    assert compared == rated
    content = {**params(protocol), "policies": {}, "select": {"policy": "mah_dpo"}}
    content["select"] |= {"reference": "sft", "rule": "weighted_sum"}
    Path("params.yaml").write_text(json.dumps(content), encoding="utf-8")
    evaluate.main("sft")
    select.main()
    assert outputs.read_json("reports/select.json")["policy"] == "mah_dpo"


def _comparisons_instead_of_ratings() -> None:
    for split in ("test", "validation"):
        path = f"data/prepared/ratings/{split}.parquet"
        ratings = outputs.read_table(path)
        better = ratings[ratings["rating"] == 1].rename(columns={"response": "chosen"})
        pairs = better.assign(rejected="No, never.", origin="comparisons")
        outputs.write_table(f"data/prepared/pairs/{split}.parquet", pairs)
        outputs.write_table(path, ratings.iloc[:0])


def test_judged_protocol(chain: Path) -> None:
    """Answers to held-out prompts at all points, judged and described; validation has proxies."""
    Path("params.yaml").write_text(json.dumps(params("judged")), encoding="utf-8")
    evaluate.main("mah_dpo")
    report = outputs.read_json("reports/policies/mah_dpo.json")
    assert set(report["judge"]) == set(VALUES)
    for figures in report["judge"].values():
        assert figures["pairs"] == 5
        assert figures["value"] == 1.0  # every "Yes." is rated 1 and every "No, never." 0
    samples = outputs.read_table("reports/samples/mah_dpo.parquet")
    test, validation = (samples[samples["split"] == split] for split in ("test", "validation"))
    assert set(test.groupby("point").size()) == {5}
    for name in VALUES:
        assert test[f"gold.{name}"].between(0, 1).all()
        assert validation[f"gold.{name}"].isna().all()
        assert samples[f"proxy.{name}"].notna().all()
    points = {entry["point"] for entry in report["writing"]}
    assert points == set(test["point"])
    assert all(entry["perplexity"]["value"] > 1 for entry in report["writing"])
    assert report["conditions"]["judge"]["folds"] == 2


@pytest.mark.parametrize("unpaired", [["helpful"], VALUES])
def test_likelihood_protocol_without_pairs(chain: Path, unpaired: list[str]) -> None:
    """An objective with one graded answer per question has no pairs, and so no results."""
    Path("params.yaml").write_text(json.dumps(params("likelihood")), encoding="utf-8")
    for split in ("test", "validation"):
        path = f"data/prepared/ratings/{split}.parquet"
        table = outputs.read_table(path)
        repeated = table["objective"].isin(unpaired) & (table["response"] == "No, never.")
        outputs.write_table(path, table[~repeated])
    evaluate.main("mah_dpo")
    report = outputs.read_json("reports/policies/mah_dpo.json")
    unknown = {
        name for name, figures in report["objectives"].items() if figures["gold_mean"] is None
    }
    assert (
        unknown
        == {name for name, value in report["length_baseline"].items() if value is None}
        == set(unpaired)
    )
    content = {
        **params("likelihood"),
        "policies": {"mah_dpo": {"method": "mah_dpo"}},
        "front": {"reference_point": 0},
    }
    shutil.copy("reports/samples/mah_dpo.parquet", "reports/samples/sft.parquet")
    content["select"] = {"policy": "mah_dpo", "reference": "sft", "rule": "weighted_sum"}
    Path("params.yaml").write_text(json.dumps(content), encoding="utf-8")
    front.main()
    assert (
        outputs.read_json("reports/front.json").get("values", {}).get("unjudged", VALUES)
        == unpaired
    )
    select.main()


def test_reward_models_on_the_locked_world(chain: Path) -> None:
    evaluate_rewards.main()
    report = outputs.read_json("reports/rewards/values.json")
    assert list(report) == sorted(VALUES)
    for figures in report.values():
        assert {
            "pair_accuracy",
            "length_baseline",
            "ceiling",
            "gold_rank_correlation",
            "seconds",
        } <= set(figures)
        assert 0.6 < figures["ceiling"] < 1.0
        assert figures["pairs"] == 12
        assert figures["baselines"]["longer"]["value"] == figures["length_baseline"]
        assert figures["calibration"]["temperature"] == 0.5
    for measure in ("score_correlation", "gradient_cosine"):
        assert set(report["helpful"][measure]) == set(VALUES) - {"helpful"}
        assert figures["grades"] is None
    steps = outputs.read_json("reports/process_reward.json")
    assert set(steps["objectives"]) <= set(VALUES)
    assert steps["best_of_n"] == {}


def test_reward_models_on_human_labels(chain: Path) -> None:
    Path("params.yaml").write_text(json.dumps(params("likelihood")), encoding="utf-8")
    evaluate_rewards.main()
    report = outputs.read_json("reports/rewards/values.json")
    assert all(figures["ceiling"] is None for figures in report.values())
    assert all(
        figures["length_baseline"] == 1.0 for figures in report.values()
    )  # "Yes." is longer than "No."
    assert all(figures["grades"]["grades"] == 10 for figures in report.values())
    steps = outputs.read_json("reports/process_reward.json")
    assert set(steps["objectives"]) == {"helpful"}
    assert steps["checks"].keys() == {"kind_words", "strict"}
    checks = {name: figures["checks"].keys() for name, figures in report.items()}
    assert checks == {"helpful": {"kind_words"}, "honest": set(), "harmless": {"strict"}}
    assert report["helpful"]["checks"]["kind_words"]["pairs"] == 5


def test_a_head_without_pairs_is_evaluated_on_grades(chain: Path) -> None:
    """`helpful` has only grades; the other objectives also have pairs."""
    Path("params.yaml").write_text(json.dumps(params("likelihood")), encoding="utf-8")
    for split in ("train", "test"):
        path = f"data/prepared/rewards/values/{split}.parquet"
        pairs = outputs.read_table(path)
        outputs.write_table(path, pairs[pairs["objective"] != "helpful"])
    path = "models/rewards/values/calibration.json"
    nothing = {"temperature": 1.0, "pairs": 0, "nll_before": None, "nll_after": None}
    outputs.write_json(path, {**outputs.read_json(path), "helpful": nothing})
    evaluate_rewards.main()
    report = outputs.read_json("reports/rewards/values.json")["helpful"]
    assert (report["pairs"], report["pair_accuracy"], report["normalised_accuracy"]) == (
        0,
        None,
        None,
    )
    assert report["grades"]["length_auc"] == 0.0  # "Yes." is good, and shorter
    assert 0 <= report["grades"]["auc"] <= 1
    assert report["baselines"] == dict.fromkeys(["longer", "author", "tf_idf", "unseen authors"])
    assert report["calibration"] == {"temperature": None, "error": None, "reliability": []}
    assert report["confident_errors"] == []
    assert set(report["score_correlation"]) == {"honest", "harmless"}


@pytest.mark.parametrize("protocol", ["sandbox", "likelihood", "judged"])
def test_a_stopped_evaluation_resumes(
    chain: Path, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    monkeypatch.setattr(steered, "PROMPTS_AT_ONCE", 2)
    Path("params.yaml").write_text(json.dumps(params(protocol)), encoding="utf-8")
    written = [f"reports/{name}" for name in ("policies/mah_dpo.json", "samples/mah_dpo.parquet")]
    checks = 4 if protocol == "likelihood" else 0  # the SFT model as one with a single head
    check_resume(partial(evaluate.main, "mah_dpo"), written, share=0.7, checks=checks)


def test_a_stopped_evaluation_of_the_candidate_resumes(chain: Path) -> None:
    content = {**params("sandbox"), "policies": {}, "export": {"dtype": "float32"}}
    content["evaluate"]["batch_size"] = 2
    Path("params.yaml").write_text(json.dumps(content), encoding="utf-8")
    weights = {"weights": dict.fromkeys(VALUES, 1.0)}
    constraints = {"at_least": {}, "max_kl": None}
    choice = {"policy": "mah_dpo", "strength": 1, **weights, "domains": {"values": weights}}
    outputs.write_json("reports/select.json", choice | constraints)
    evaluate.main("mah_dpo")
    names = ("results.json", "samples.parquet", "labels.parquet")
    written = [f"reports/candidate/{name}" for name in names]
    check_resume(candidate.main, written, share=0.4)


def test_a_stopped_evaluation_of_reward_models_resumes(chain: Path) -> None:
    written = [f"reports/{name}.json" for name in ("rewards/values", "process_reward")]
    check_resume(evaluate_rewards.main, written, share=0.8)
