"""Training logs that are sent elsewhere, with the callbacks of Transformers' Trainer.

`runtime.report_to` names the services. Each is set up by its own environment variables, such as
WANDB_PROJECT, MLFLOW_TRACKING_URI and TENSORBOARD_LOGGING_DIR. TensorBoard reads
`work/tensorboard` by default.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from concord.stage.paths import WORK

PROJECT = "concord"
"""Name of the project, if the environment does not say another."""
FOLDER = WORK / "tensorboard"


def arguments(report_to: Sequence[str], label: str) -> dict[str, Any]:
    """Arguments of `TrainingArguments`: where the logs go, and the name of the run.

    `label` says what is trained, such as `policy mah_dpo`.
    """
    if not report_to:
        return {"report_to": "none"}
    name = label.replace(" ", "-")
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(FOLDER / name))
    os.environ.setdefault("WANDB_PROJECT", PROJECT)
    os.environ.setdefault("MLFLOW_EXPERIMENT_NAME", PROJECT)
    return {"report_to": list(report_to), "run_name": name, "project": PROJECT}


class TrainingLog:
    """Sends the metrics of a training loop that is not Transformers' Trainer.

    Without `report_to` it does nothing.
    """

    def __init__(self, report_to: Sequence[str], label: str, steps: int, model: Any) -> None:
        from transformers import TrainerControl, TrainerState, TrainingArguments, trainer_callback
        from transformers.integrations import integration_utils

        self._handler: Any = None
        if not report_to:
            return
        settings = arguments(report_to, label)
        self._args = TrainingArguments(output_dir=str(WORK), max_steps=steps, **settings)
        self._state = TrainerState(max_steps=steps)
        self._control = TrainerControl()
        services: Any = integration_utils
        callbacks = services.get_reporting_integration_callbacks(report_to)
        handler: Any = trainer_callback.CallbackHandler
        self._handler = handler([callback() for callback in callbacks], model, None, None, None)
        self._handler.on_train_begin(self._args, self._state, self._control)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Sends the metrics of one step, counted from 1."""
        if self._handler is not None:
            self._state.global_step = step
            self._handler.on_log(self._args, self._state, self._control, dict(metrics))

    def end(self) -> None:
        """Completes the log."""
        if self._handler is not None:
            self._handler.on_train_end(self._args, self._state, self._control)
