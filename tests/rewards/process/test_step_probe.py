"""A process reward model with frozen features: fitted, saved, loaded and scored."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from concord.evaluation.rewards.trained_models import open_model
from concord.lm import shared_prefixes
from concord.lm.load import load_causal
from concord.rewards.process.process_model import ProcessRewardModel, load, new_model, windows
from concord.rewards.process.process_quality import quality
from concord.rewards.process.step_probe import StepProbe
from concord.rewards.process.step_probe_fit import StepProbeSettings, fit_step_probe
from concord.stage import outputs
from concord.stage.errors import ModelError, ParamsError
from concord.stage.params import Runtime, section
from tasks import process_reward

MESSAGES = [{"role": "user", "content": "ab"}]
STEPS = ["1+1=2\n\n", "2+2=4\n\n", "done"]


def answers(count: int) -> pd.DataFrame:
    """Steps with an "x" are bad for `right` and good for `brief`; `brief` labels are values."""
    rows = []
    for number in range(count):
        steps = [f"{number % 7}{'yx'[(number + step) % 2]}. " for step in (0, 1)]
        bad = np.array(["x" in step for step in steps], dtype=float)
        for objective, labels, kind in (
            ("right", (1 - bad).tolist(), "binary"),
            ("brief", [0.1 + 0.8 * bad[0], None], "hindsight"),
        ):
            rows.append(
                {
                    "messages": [{"role": "user", "content": f"q{number % 20}"}],
                    "steps": steps,
                    "objective": objective,
                    "labels": labels,
                    "label_kind": kind,
                    "group_id": f"q{number % 20}",
                    "source": "s",
                }
            )
    return pd.DataFrame(rows)


@pytest.fixture
def project(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    Path("models/sft").symlink_to(tiny_model)
    for split, count in {"train": 80, "validation": 30}.items():
        outputs.write_table(f"data/process_labels/{split}.parquet", answers(count))
    return tmp_path


def run(**entry: Any) -> None:
    params = section(process_reward.ProcessRewardParams, entry, "process_reward")
    process_reward.run(params, Runtime(threads=1, device="cpu"), seed=0, max_length=64)


TRAINING = {"learning_rate": 0.1, "steps": 1, "batch_size": 1}
PROBE = {"architecture": "probe", "layers": [1, 2], "frozen_dtype": "float32"}


def test_the_stage_fits_saves_and_scores_a_frozen_model(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(**PROBE)
    model = load("models/process_reward")
    assert isinstance(model, StepProbe)
    assert open_model(Path("models/process_reward")).scores_steps
    assert model.objectives == ["right", "brief"]
    good, bad = model.score_all([MESSAGES, MESSAGES], [["3y. ", "4y. "], ["3x. ", "4x. "]])
    assert good.shape == (2, 2)
    assert good.dtype == np.float32
    assert good[:, 0].min() > 0.5 > bad[:, 0].max()
    assert good[0, 1] < 0.5 < bad[0, 1]

    fitted = outputs.read_json("reports/timing/process_reward.json")
    assert set(fitted) == {"seconds", "resumed", "peak_mb", "parameters", "validation"}
    assert fitted["parameters"] == 2 * (2 * 32 + 1)
    validation = fitted["validation"]["right"]
    assert validation["rmse"] < 0.5 * validation["rmse_mean"]
    assert Path("reports/curves/process_reward.csv").read_text().count("\n") == 2
    chosen = outputs.read_json("models/process_reward/regularisation.json")
    assert {name: entry["groups"] for name, entry in chosen.items()} == {"right": 20, "brief": 20}
    assert "right: l2 " in capsys.readouterr().out


def test_scores_are_the_same_after_saving_and_in_any_batch(project: Path) -> None:
    run(**PROBE)
    model = load("models/process_reward")
    frame = answers(30)
    every = [
        np.concatenate(model.score_all(frame["messages"].tolist(), frame["steps"].tolist(), size))
        for size in (1, 7, 64)
    ]
    for other in every[1:]:
        np.testing.assert_allclose(other, every[0], atol=1e-4)
    again = np.concatenate(
        load("models/process_reward").score_all(frame["messages"].tolist(), frame["steps"].tolist())
    )
    np.testing.assert_array_equal(again, every[2])
    assert quality(model, frame, frame)["right"]["steps"] == 60


def test_a_head_on_the_last_layer_equals_a_trained_model_with_the_same_head(
    tiny_model: Path, tiny_tokenizer: Any
) -> None:
    """Both read the same token of each step, also in a long answer with several windows."""
    tiny_tokenizer.model_max_length = 12
    model = new_model(tiny_model, ["a", "b"], tiny_tokenizer, "cpu", "float32", 0)
    heads = {
        "weight": model.score.weight.detach().numpy(),
        "bias": model.score.bias.detach().numpy(),
    }
    probe = StepProbe(load_causal(tiny_model), tiny_tokenizer, [2], ["a", "b"], heads)
    trained = ProcessRewardModel(model, tiny_tokenizer)
    assert len(windows(tiny_tokenizer, MESSAGES, STEPS * 3, 12)) > 1
    np.testing.assert_allclose(
        probe.score(MESSAGES, STEPS * 3), trained.score(MESSAGES, STEPS * 3), atol=1e-5
    )


def test_equal_answers_are_read_once(
    tiny_model: Path, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_tokenizer.model_max_length = 64
    heads = {"weight": np.ones((1, 32)), "bias": np.zeros(1)}
    probe = StepProbe(load_causal(tiny_model), tiny_tokenizer, [1], ["a"], heads)
    tokens = []
    read = shared_prefixes.read
    monkeypatch.setattr(
        shared_prefixes,
        "read",
        lambda *given, **more: (tokens.append(len(given[1])), read(*given, **more))[1],
    )
    one, two, three = probe.score_all([MESSAGES] * 3, [STEPS, STEPS[:1], STEPS])
    assert tokens == [2]
    np.testing.assert_array_equal(one, three)
    np.testing.assert_allclose(one[:1], two, atol=1e-5)


def test_the_type_of_the_fit_is_the_type_of_scoring(project: Path) -> None:
    run(**{**PROBE, "frozen_dtype": "bfloat16", "l2": 1.0})
    entry = json.loads(Path("models/process_reward/probe.json").read_text())
    assert entry["dtype"] == "bfloat16"
    assert not Path("models/process_reward/regularisation.json").exists()
    model = load("models/process_reward", dtype="float32")
    assert model.model.dtype == torch.bfloat16


def test_heads_are_refitted_from_cached_states(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(**PROBE, l2=1.0)
    monkeypatch.setattr(process_reward, "_write_curve", lambda _: None)
    monkeypatch.setattr(
        "concord.rewards.process.process_quality.quality", lambda *_: {}
    )  # it scores new answers
    monkeypatch.setattr(shared_prefixes, "states", lambda *_: pytest.fail("read again"))
    run(**PROBE, l2=5.0)


def test_a_changed_backbone_is_refused(project: Path) -> None:
    run(**PROBE, l2=1.0)
    file = Path("models/process_reward/probe.json")
    file.write_text(file.read_text().replace('"backbone_hash": "', '"backbone_hash": "0'))
    with pytest.raises(ModelError, match="fitted on other weights"):
        load("models/process_reward")


def test_soft_labels_are_fitted_to_their_mean(
    tiny_model: Path, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    """With a strong penalty every score is the mean label of its head."""
    tiny_tokenizer.model_max_length = 64
    settings = StepProbeSettings([1], "float32", 1e9, tiny_model, "cpu", tmp_path / "kept")
    frame = answers(40)
    model, chosen = fit_step_probe(frame, ["right", "brief"], tiny_tokenizer, settings)
    assert chosen is None
    scores = model.score(MESSAGES, ["1x. "])[0]
    brief = frame[frame["objective"] == "brief"]["labels"].map(lambda each: each[0])
    np.testing.assert_allclose(scores, [0.5, brief.mean()], atol=0.01)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "needs `training`"),
        ({"architecture": "probe"}, r"`layers` is \[\], but `architecture: probe` needs one"),
        ({**PROBE, "layers": [1, 1]}, r"`layers` is \[1, 1\]"),
        ({**PROBE, "lora": {}}, "`lora` and `verdicts` have no effect"),
        ({**PROBE, "verdicts": {"a": {"good": "x", "bad": "y"}}}, "have no effect"),
        ({"training": TRAINING, "layers": [1]}, "add it or remove them"),
        ({**PROBE, "l2": 0.0}, "greater than 0"),
    ],
)
def test_invalid_params(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        section(process_reward.ProcessRewardParams, entry, "process_reward")


def test_unknown_layers(project: Path) -> None:
    with pytest.raises(ParamsError, match=r"choose one or more from 0 \(embeddings\) to 2"):
        run(**{**PROBE, "layers": [3]})
