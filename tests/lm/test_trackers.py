"""Training logs are sent to the services of `runtime.report_to`, as by Transformers' Trainer."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback
from transformers.integrations import integration_utils

from concord.lm import trackers
from concord.lm.trackers import TrainingLog
from concord.lm.train import Training, fit
from concord.stage import preflight
from concord.stage.errors import ParamsError
from concord.stage.params import Runtime, section

EVENTS: list[tuple[Any, ...]] = []


class Recorder(TrainerCallback):
    """Stands in for the callback of a service."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        EVENTS.append(("begin", args.run_name, kwargs["model"] is not None))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        EVENTS.append(("log", state.global_step, dict(logs)))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        EVENTS.append(("end",))


@pytest.fixture(autouse=True)
def recorder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    EVENTS.clear()
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "tensorboard", Recorder)
    for name in ("TENSORBOARD_LOGGING_DIR", "WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def loss(model: Any, batch: Any) -> tuple[torch.Tensor, dict[str, float]]:
    value = ((model(batch["x"]) - 1.0) ** 2).mean()
    return value, {"accuracy": 0.5}


def train(**options: Any) -> None:
    rows = [{"x": torch.tensor([float(number)])} for number in range(4)]
    fit(
        torch.nn.Linear(1, 1),
        rows,
        lambda batch: {"x": torch.stack([row["x"] for row in batch])},
        loss,
        Training(learning_rate=0.1, batch_size=2, steps=3),
        seed=0,
        **options,
    )


def test_every_step_of_a_fit_is_sent() -> None:
    train(label="policy mah_dpo", report_to=["tensorboard"])
    assert EVENTS[0] == ("begin", "policy-mah_dpo", True)
    assert EVENTS[-1] == ("end",)
    logs = {event[1]: event[2] for event in EVENTS if event[0] == "log" and "loss" in event[2]}
    assert set(logs) == {1, 2, 3}
    assert all(entry["accuracy"] == 0.5 for entry in logs.values())


def test_nothing_is_sent_by_default() -> None:
    train()
    assert EVENTS == []


def test_a_loop_of_another_kind_is_sent_too() -> None:
    log = TrainingLog(["tensorboard"], "policy ppo", 2, torch.nn.Linear(1, 1))
    log.log(1, {"loss": 0.5})
    log.log(2, {"loss": 0.25})
    log.end()
    assert EVENTS == [
        ("begin", "policy-ppo", True),
        ("log", 1, {"loss": 0.5}),
        ("log", 2, {"loss": 0.25}),
        ("end",),
    ]
    silent = TrainingLog([], "policy ppo", 2, None)
    silent.log(1, {"loss": 0.5})
    silent.end()
    assert len(EVENTS) == 4


def test_the_environment_of_a_service_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    settings = trackers.arguments(["wandb", "tensorboard"], "sft")
    assert settings == {
        "report_to": ["wandb", "tensorboard"],
        "run_name": "sft",
        "project": "concord",
    }
    assert os.environ["WANDB_PROJECT"] == "mine"
    assert os.environ["TENSORBOARD_LOGGING_DIR"] == "work/tensorboard/sft"


def test_unknown_services_and_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ParamsError, match=r"runtime\.report_to.*'tensorboard', 'wandb', 'mlflow'"):
        section(Runtime, {"threads": 1, "report_to": ["tensorbord"]}, "runtime")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "wandb" else 1)
    [problem] = preflight.trackers(["wandb", "mlflow"])
    assert "wandb is not installed; run `pip install wandb`" in problem
