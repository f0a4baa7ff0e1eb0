"""Outcome reward models: scores that no batch changes, heads bound by name, and checkpoints that must fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks.rewards.outcome import encode_all, load, new_model
from tasks.rewards.probe import Probe, check_layers, fit_heads
from tasks.stage.errors import DataError, ModelError, ParamsError
from tasks.stage.models import load_causal

MESSAGES = [[{"role": "user", "content": "hi" * (1 + n % 5)}] for n in range(33)]
RESPONSES = ["yes" * (1 + n % 7) + str(n) for n in range(33)]


@pytest.fixture
def finetuned(tiny_model: Path, tiny_tokenizer: Any, tmp_path: Path) -> Path:
    tiny_tokenizer.model_max_length = 64
    model = new_model(tiny_model, ["helpful", "honest"], tiny_tokenizer, "cpu", "float32", seed=0)
    model.save_pretrained(tmp_path / "model")
    tiny_tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def probe(tiny_model: Path, tiny_tokenizer: Any, tmp_path: Path) -> Path:
    tiny_tokenizer.model_max_length = 64
    heads = {"weight": np.linspace(-1, 1, 128).reshape(2, 64), "bias": np.array([0.5, -0.5])}
    made = Probe(load_causal(tiny_model), tiny_tokenizer, [1, 2], ["helpful", "honest"], heads)
    (tmp_path / "rewards").mkdir()
    made.save(tmp_path / "rewards", tiny_model, tmp_path / "rewards")
    return tmp_path / "rewards"


@pytest.mark.parametrize("architecture", ["finetuned", "probe"])
def test_scores_do_not_depend_on_the_batch(architecture: str, request: pytest.FixtureRequest) -> None:
    model = load(request.getfixturevalue(architecture))
    alone, together = (model.score(MESSAGES, RESPONSES, batch_size=size) for size in (1, 32))
    assert model.objectives == ["helpful", "honest"]
    assert together.shape == (33, 2)
    assert together.dtype == np.float32
    assert together.std(axis=0).min() > 1e-3
    np.testing.assert_allclose(alone, together, atol=1e-4)


def test_a_stock_pipeline_reads_the_same_scores(finetuned: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    ours = load(finetuned)
    stock = AutoModelForSequenceClassification.from_pretrained(finetuned)
    ids = encode_all(ours.tokenizer, MESSAGES[:1], RESPONSES[:1])  # type: ignore[attr-defined]
    with torch.no_grad():
        logits = stock(torch.tensor(ids)).logits
    np.testing.assert_allclose(ours.score(MESSAGES[:1], RESPONSES[:1]), logits.numpy(), atol=1e-5)
    assert stock.config.problem_type == "regression"
    assert stock.config.label2id == {"helpful": 0, "honest": 1}


def test_the_prompt_is_cut_from_the_left_and_the_response_never(finetuned: Path) -> None:
    model = load(finetuned)
    long = [[{"role": "user", "content": "x" * 100 + "end"}], [{"role": "user", "content": "y" * 100 + "end"}]]
    scores = model.score(long, ["yes", "yes"])
    assert np.isfinite(scores).all()
    with pytest.raises(DataError, match="does not fit in max_length 64"):
        model.score(MESSAGES[:1], ["z" * 70])


def test_a_checkpoint_that_does_not_fit_is_an_error(finetuned: Path, tiny_model: Path, tmp_path: Path) -> None:
    weights = load_file(finetuned / "model.safetensors")
    renamed = {f"x.{name}": value for name, value in weights.items()}
    save_file(renamed, finetuned / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="does not fit"):
        load(finetuned)
    with pytest.raises(ModelError, match=r"no reward model at .*missing"):
        load(tmp_path / "missing")
    with pytest.raises(ModelError, match=r"lacks score\.weight"):
        load(tiny_model)


def test_a_new_model_is_the_sft_model_but_for_its_heads(tiny_model: Path, tiny_tokenizer: Any) -> None:
    before = torch.get_rng_state()
    models = [new_model(tiny_model, ["a", "b"], tiny_tokenizer, "cpu", "float32", seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(before, torch.get_rng_state())
    stored = load_file(tiny_model / "model.safetensors")
    for name, value in models[0].state_dict().items():
        if name != "score.weight":
            assert torch.equal(value, stored[name]), name
    assert torch.equal(models[0].score.weight, models[1].score.weight)
    assert not torch.equal(models[0].score.weight, models[2].score.weight)


def test_a_probe_demands_its_own_backbone(probe: Path, tiny_model: Path, tmp_path: Path) -> None:
    entry = (probe / "probe.json").read_text()
    assert '"objectives"' in entry
    (probe / "probe.json").write_text(entry.replace('"backbone_hash": "', '"backbone_hash": "0'))
    with pytest.raises(ModelError, match="fitted on other weights"):
        load(probe)


def test_layers_that_are_not_there(tiny_model: Path) -> None:
    model = load_causal(tiny_model)
    assert check_layers(model, [0, 2]) == [0, 2]
    for layers in ([], [3], [-1]):
        with pytest.raises(ParamsError, match=r"give some of 0 \(embeddings\) to 2"):
            check_layers(model, layers)


def test_heads_are_fitted_to_differences() -> None:
    """Head 0 wants feature 0 high, head 1 wants feature 1 low; feature 2 never differs; mean features score 0."""
    generator = np.random.default_rng(0)
    chosen, rejected = generator.normal(size=(2, 200, 3))
    chosen[:, 2] = rejected[:, 2] = 4.0
    chosen[:100, 0] += 3
    chosen[100:, 1] -= 3
    features = np.concatenate([chosen, rejected])
    head = np.repeat([0, 1], 100)
    heads = fit_heads(chosen - rejected, head, 2, features, l2=1.0)
    assert heads["weight"][0, 0] > 5 * abs(heads["weight"][0, 1])
    assert heads["weight"][1, 1] < -5 * abs(heads["weight"][1, 0])
    np.testing.assert_allclose(heads["weight"][:, 2], 0.0)
    np.testing.assert_allclose(heads["weight"] @ features.mean(axis=0) + heads["bias"], 0.0, atol=1e-5)
