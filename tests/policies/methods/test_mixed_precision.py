"""Every training with runtime.dtype bfloat16: float32 parameters that small steps move."""

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from concord.lm.load import load_tokenizer
from concord.lm.train import Training
from concord.rewards.outcome import outcome_fit
from concord.rewards.outcome.examples import Example, Order, Scales
from concord.rewards.process.process_fit import StepFitSettings, fit_steps
from concord.rewards.process.process_model import ProcessRewardModel, new_model
from concord.stage.params import Runtime
from concord.stage.paths import SFT
from tasks.policy import method_of
from tests.policies.conftest import MakeJob
from tests.policies.methods.test_grpo import ENTRY, TRL_READS_AN_OLD_NAME

MIXED = Runtime(threads=1, device="cpu", dtype="bfloat16")
SMALL = {"learning_rate": 1e-6, "steps": 4, "batch_size": 6, "schedule": "constant"}
STEPS = Training(learning_rate=1e-6, steps=4, batch_size=2, schedule="constant")
POLICIES = {
    "mah_dpo": {"training": SMALL},
    "deep": {"method": "mah_dpo", "training": SMALL, "head_adapters": {"rank": 2}},
    "dpo": {"training": SMALL, "weights": {"right": 1.0, "helpful": 1.0}},
    "grpo": {**ENTRY, "learning_rate": 1e-6},
}


def assert_moved(weights: dict[str, Any]) -> None:
    """At least 99 % of the weights of every trained layer differ from the SFT model's."""
    start = load_file(SFT / "model.safetensors")
    layers = {name: value for name, value in weights.items() if "proj" in name}
    assert layers
    for name, value in layers.items():
        assert value.dtype == torch.float32
        stock = name.replace(".base.weight", ".weight").replace("backbone.", "model.")
        if stock in start:
            moved = value != start[stock]
            assert float(moved.float().mean()) > 0.99, name


@TRL_READS_AN_OLD_NAME
@pytest.mark.parametrize("name", POLICIES)
def test_policies(reward_models: Path, make_job: MakeJob, name: str) -> None:
    """The first delta is 0: policy and reference are computed in the same way."""
    job = dataclasses.replace(make_job(name, **{"method": name, **POLICIES[name]}), runtime=MIXED)
    method_of(POLICIES[name] | {"method": job.params.method}, "x").run(job)
    weights = load_file(job.folder / "model.safetensors")
    assert_moved(weights)
    if name != "grpo":
        assert pd.read_csv(job.curve)["delta"][0] == pytest.approx(0.0, abs=1e-4)


def test_a_reward_model(project: Path) -> None:
    pairs = [
        Example([[7, 8, 9, 10 + row], [7, 8, 20 + row]], [Order(0, (0, 1), (1, 2), 0.0)], [])
        for row in range(4)
    ]
    data = outcome_fit.OutcomeData(["a"], load_tokenizer(SFT), pairs, Scales({}, {}, {}), [])
    settings = outcome_fit.FinetuneSettings(
        STEPS, [1.0], None, 1.0, 0, project / "work", project / "curve.csv", "test"
    )
    fitted = outcome_fit.finetune(data, outcome_fit.Backbone(SFT, "cpu", "bfloat16"), settings)
    fitted.save(project / "reward")
    assert_moved(load_file(project / "reward/model.safetensors"))


def test_a_process_reward_model(project: Path) -> None:
    tokenizer = load_tokenizer(SFT)
    tokenizer.model_max_length = 64
    reward = ProcessRewardModel(new_model(SFT, ["a"], tokenizer, "cpu", "float32", 0), tokenizer)
    row = {
        "messages": [{"role": "user", "content": "q"}],
        "steps": ["ab", "cd"],
        "labels": [1.0, 0.0],
        "objective": "a",
        "label_kind": "judge",
    }
    table = pd.DataFrame([row, {**row, "steps": ["ef", "gh"]}])
    settings = StepFitSettings(
        training=STEPS, verdicts={}, l2=1.0, lora=None, sft=SFT, seed=0, dtype="bfloat16",
        work=project / "work", curve=project / "curve.csv",
    )  # fmt: skip
    fit_steps(reward, table, table, settings)
    assert_moved(dict(reward.model.named_parameters()))
