"""The stage `reward_model`: several heads, a single head, probes, and invalid input."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from concord.prepared import labels
from concord.rewards.outcome.reward_model import load
from concord.stage import outputs
from concord.stage.errors import DataError, ParamsError
from concord.stage.params import Runtime, section
from tasks.reward_model import RewardModelJob, RewardModelParams, run

TRAINING = {
    "learning_rate": 0.01,
    "steps": 40,
    "batch_size": 8,
    "micro_batch": 4,
    "checkpoint_every": 20,
}
HEADS = {"helpful": {"loss_weight": 1.0}, "honest": {"loss_weight": 1.0}}


def _pairs(count: int) -> pd.DataFrame:
    """`helpful` prefers answers of "a", and `honest` answers of "b"."""
    rows = []
    for index in range(count):
        sides = ["a" * (3 + index % 4), "b" * (3 + index % 3)]
        objective = ["helpful", "honest"][index % 2]
        chosen, rejected = sides if objective == "helpful" else sides[::-1]
        prompt = [{"role": "user", "content": f"q{index % 10}"}]
        index = {
            "source": "s",
            "source_file": "",
            "source_line": index + 1,
            "group_id": prompt[0]["content"],
        }
        judged = {
            "objective": objective,
            "annotator": "ada",
            "margin": None,
            "origin": "comparisons",
        }
        rows.append({**index, **judged, "messages": prompt, "chosen": chosen, "rejected": rejected})
    return pd.DataFrame(rows)


@pytest.fixture
def project(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    Path("models/sft").symlink_to(tiny_model)
    for split, count in {"train": 64, "validation": 20}.items():
        outputs.write_table(f"data/prepared/rewards/values/{split}.parquet", _pairs(count))
    outputs.write_table(
        "data/prepared/rewards/values/labels.parquet", labels.from_pairs(_pairs(64))
    )
    return tmp_path


def _job(**changes: Any) -> RewardModelJob:
    entry = {"objectives": HEADS, "training": TRAINING, **changes}
    return RewardModelJob(
        "values",
        section(RewardModelParams, entry, "reward_models.values"),
        Runtime(threads=1, device="cpu"),
        0,
        64,
    )


MESSAGES = [[{"role": "user", "content": "new"}]] * 2


@pytest.mark.parametrize(
    "changes",
    [{}, {"architecture": "probe", "layers": [1, 2], "l2": 1.0, "training": None}],
    ids=["finetune", "probe"],
)
def test_two_heads_learn_opposite_preferences(project: Path, changes: dict[str, Any]) -> None:
    run(_job(**changes))
    model = load("models/rewards/values")
    scores = model.score(MESSAGES, ["aaaa", "bbbb"])
    assert model.objectives == ["helpful", "honest"]
    assert scores[0, 0] > scores[1, 0]
    assert scores[0, 1] < scores[1, 1]
    timing = json.loads(Path("reports/timing/values.json").read_text())
    assert sorted(timing) == ["gradient_cosine", "parameters", "peak_mb", "resumed", "seconds"]
    assert not timing["resumed"]
    assert timing["parameters"] > 0
    curve = pd.read_csv("reports/curves/reward_values.csv")
    assert curve[["validation_helpful", "validation_honest"]].iloc[-1].min() > 0.9


def test_every_weight_is_trained_reproducibly(project: Path) -> None:
    states = []
    for _ in range(2):
        run(_job(training={**TRAINING, "steps": 3}))
        states.append(load_file("models/rewards/values/model.safetensors"))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    before = load_file("models/sft/model.safetensors")
    unused = {"model.embed_tokens.weight"}  # rows of letters that no answer has
    changed = {name for name in before if not torch.equal(before[name], states[0][name])}
    assert changed | unused == set(before)
    assert not Path("work").exists() or not any(Path("work/reward_model@values").iterdir())


def test_low_rank_adapters_are_merged(project: Path) -> None:
    run(_job(lora={"rank": 2, "alpha": 4}))
    weights, before = (
        load_file("models/rewards/values/model.safetensors"),
        load_file("models/sft/model.safetensors"),
    )
    assert set(weights) - {"score.weight"} == set(before) - {"lm_head.weight"}
    changed = {
        name for name in before if name in weights and not torch.equal(before[name], weights[name])
    }
    assert changed
    assert all(
        name.endswith("_proj.weight") for name in changed
    )  # norms and embeddings have no adapter
    scores = load("models/rewards/values").score(MESSAGES, ["aaaa", "bbbb"])
    assert scores[0, 0] > scores[1, 0]
    assert scores[0, 1] < scores[1, 1]


def test_a_group_with_one_objective(project: Path) -> None:
    run(_job(objectives={"honest": {}}, training={**TRAINING, "steps": 2}))
    assert load("models/rewards/values").score(MESSAGES, ["aaaa", "bbbb"]).shape == (2, 1)


def test_one_model_is_fitted_to_grades_and_pairs(project: Path) -> None:
    """`helpful` has pairs only; `honest` has binary labels of two annotators."""
    pairs = _pairs(64)
    graded = pairs[pairs["objective"] == "honest"]
    ratings = pd.concat(
        graded.assign(
            response=graded[side], rating=grade, kind="binary", scale_low=0.0, scale_high=1.0
        )
        for side, grade in (("chosen", 1.0), ("rejected", 0.0))
    )
    ratings["annotator"] = ["ada", "bo"] * (len(ratings) // 2)
    table = pd.concat(
        [labels.from_pairs(pairs[pairs["objective"] == "helpful"]), labels.from_ratings(ratings)]
    )
    outputs.write_table("data/prepared/rewards/values/labels.parquet", table)
    run(_job())
    scores = load("models/rewards/values").score(MESSAGES, ["aaaa", "bbbb"])
    assert scores[0, 0] > scores[1, 0]
    assert scores[0, 1] < scores[1, 1]
    graders = json.loads(Path("models/rewards/values/graders.json").read_text())
    assert list(graders["thresholds"]) == ["honest [0, 1]"]
    assert sorted(graders["severity"]) == ["honest [0, 1] ada", "honest [0, 1] bo"]


@pytest.mark.parametrize(
    "changes",
    [{}, {"architecture": "probe", "layers": [1, 2], "l2": 1.0, "training": None}],
    ids=["finetune", "probe"],
)
@pytest.mark.parametrize("paired", [["helpful"], []], ids=["a head", "all heads"])
def test_heads_without_pairs_are_fitted_but_not_calibrated(
    project: Path, paired: list[str], changes: dict[str, Any]
) -> None:
    """Binary labels: answers of "a" are helpful and not honest, answers of "b" the reverse."""
    pairs = _pairs(64)
    single_answers = pairs[~pairs["objective"].isin(paired)]
    ratings = pd.concat(
        single_answers.assign(
            response=single_answers[side],
            rating=grade,
            kind="binary",
            scale_low=0.0,
            scale_high=1.0,
            messages=[
                [{"role": "user", "content": f"{side} {index}"}]
                for index in range(len(single_answers))
            ],
        )
        for side, grade in (("chosen", 1.0), ("rejected", 0.0))
    )
    kept = {
        split: _pairs(n)[_pairs(n)["objective"].isin(paired)]
        for split, n in {"train": 64, "validation": 20}.items()
    }
    for split, frame in kept.items():
        outputs.write_table(f"data/prepared/rewards/values/{split}.parquet", frame)
    table = pd.concat(
        [labels.from_pairs(kept["train"]), labels.from_ratings(ratings)], ignore_index=True
    )
    outputs.write_table("data/prepared/rewards/values/labels.parquet", table)
    run(_job(**changes))
    scores = load("models/rewards/values").score(MESSAGES, ["aaaa", "bbbb"])
    assert scores[0, 0] > scores[1, 0]
    assert scores[0, 1] < scores[1, 1]
    calibration = json.loads(Path("models/rewards/values/calibration.json").read_text())
    assert {name: entry["pairs"] for name, entry in calibration.items()} == {
        "helpful": 10 * len(paired),
        "honest": 0,
    }
    assert (calibration["honest"]["temperature"], calibration["honest"]["nll_after"]) == (1.0, None)
    assert set(pd.read_csv("reports/curves/reward_values.csv").columns) >= {
        f"validation_{name}" for name in paired
    }


def test_implied_pairs_without_pairs(project: Path) -> None:
    table = _pairs(64)
    outputs.write_table(
        "data/prepared/rewards/values/train.parquet", table[table["objective"] == "helpful"]
    )
    with pytest.raises(
        DataError, match=r"train\.parquet has no pairs for honest.*or set labels: given"
    ):
        run(_job(labels="implied_pairs"))


def test_implied_pairs_instead_of_labels(project: Path) -> None:
    outputs.write_table("data/prepared/rewards/values/labels.parquet", labels.from_pairs(_pairs(0)))
    run(_job(labels="implied_pairs"))
    scores = load("models/rewards/values").score(MESSAGES, ["aaaa", "bbbb"])
    assert scores[0, 0] > scores[1, 0]


def test_every_head_is_calibrated_on_validation_pairs(project: Path) -> None:
    run(_job())
    calibration = json.loads(Path("models/rewards/values/calibration.json").read_text())
    assert list(calibration) == ["helpful", "honest"]
    assert all(
        entry["pairs"] == 10 and entry["nll_after"] <= entry["nll_before"] + 1e-9
        for entry in calibration.values()
    )


def test_a_probe_is_refitted_from_cached_features(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = {"architecture": "probe", "layers": [1, 2], "training": None}
    run(_job(**job, l2=1.0))
    monkeypatch.setattr(
        "concord.lm.shared_prefixes.states", lambda *_: pytest.fail("computed again")
    )
    run(_job(**job, l2=5.0))
    assert (Path("work/features/values/features.sqlite")).is_file()


def test_a_probe_chooses_its_regularisation_and_says_so(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(_job(architecture="probe", layers=[1, 2], training=None, frozen_dtype="auto"))
    printed = capsys.readouterr().out
    chosen = json.loads(Path("models/rewards/values/regularisation.json").read_text())
    assert list(chosen) == ["helpful", "honest"]
    for name, entry in chosen.items():
        assert (entry["held_out_groups"], entry["groups"]) == (2, 10)
        assert entry["curve"][f"{entry['l2']:g}"] == min(entry["curve"].values())
        assert f"{name}: l2 {entry['l2']:g}, chosen on 2 of 10 groups" in printed
    assert "frozen model read in " in printed
    dtype = json.loads(Path("models/rewards/values/probe.json").read_text())["dtype"]
    (kept,) = Path("work/frozen_dtype").iterdir()
    assert json.loads(kept.read_text())["dtype"] == dtype
    scores = load("models/rewards/values").score(MESSAGES, ["aaaa", "bbbb"])
    assert scores[0, 0] > scores[1, 0]


def test_a_given_strength_is_not_chosen(project: Path) -> None:
    run(_job(architecture="probe", layers=[1], training=None, l2=3.0))
    assert not Path("models/rewards/values/regularisation.json").exists()


def test_an_objective_without_labels(project: Path) -> None:
    with pytest.raises(DataError, match="has no labels for harmless"):
        run(_job(objectives={**HEADS, "harmless": {}}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": None}, "needs `training`"),
        ({"architecture": "probe", "layers": [1], "lora": {}}, "does not train the backbone"),
        (
            {"architecture": "probe", "layers": [1, 2, 1]},
            r"`layers` is \[1, 2, 1\], which has a duplicate",
        ),
        (
            {"architecture": "probe", "layers": [1], "pooling": ["last", "last"]},
            "`pooling` is .*duplicate",
        ),
        ({"objectives": {}}, r"objectives: .*at least 1"),
        ({"objectives": {"helpful": {"loss_weight": 0.0}}}, r"loss_weight: .*greater than 0"),
        ({"objectives": {"helpful": {"los_weight": 1.0}}}, "did you mean loss_weight"),
    ],
)
def test_invalid_params(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        _job(**changes)


def test_a_probe_does_not_change_the_backbone(project: Path) -> None:
    before = {path.name: path.read_bytes() for path in Path("models/sft").iterdir()}
    run(_job(architecture="probe", layers=[2], training=None))
    assert before == {path.name: path.read_bytes() for path in Path("models/sft").iterdir()}
    assert (
        json.loads(Path("models/rewards/values/probe.json").read_text())["backbone"] == "../../sft"
    )
    assert np.isfinite(load("models/rewards/values").score(MESSAGES, ["a", "b"])).all()
