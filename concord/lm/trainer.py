"""The `transformers.Trainer` under `concord.lm.train.fit`: summed losses, figures, checkpoints safe to resume."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch.utils.data import SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback

from concord.stage import progress, resume
from concord.stage.errors import ModelError


class StepTrainer(Trainer):
    """A Trainer whose loss is already the sum over the rows of the global batch, in a given order of rows."""

    loss_is_scaled_for_ga = True  # micro-batches are added up, not averaged

    def __init__(
        self,
        model: Any,
        args: Any,
        plan: Any,
        collate: Any,
        loss: Any,
        evaluate: Any = None,
        rates: Mapping[str, float] | None = None,
        label: str = "training",
    ) -> None:
        super().__init__(model, args, train_dataset=plan, data_collator=collate)
        self._plan, self._folder = plan, Path(args.output_dir)
        self._loss, self._evaluate_model, self._rates = loss, evaluate, dict(rates or {})
        self._figures: dict[str, list[float]] = defaultdict(list)
        self.remove_callback(PrinterCallback)
        self.add_callback(_Progress(label))

    def create_optimizer(self, model: Any = None) -> Any:
        """The Trainer's own, with the parameters that have a learning rate of their own in groups apart."""
        optimizer, trained = (
            super().create_optimizer(model),
            dict(cast(Any, self.model).named_parameters()),
        )
        own = {
            id(trained[name]): rate
            for start, rate in self._rates.items()
            for name in trained
            if name.startswith(start)
        }
        for group in list(optimizer.param_groups):
            apart = [parameter for parameter in group["params"] if id(parameter) in own]
            group["params"] = [
                parameter for parameter in group["params"] if id(parameter) not in own
            ]
            for parameter in apart:
                optimizer.add_param_group(
                    {**group, "params": [parameter], "lr": own[id(parameter)]}
                )
        return optimizer

    def compute_loss(self, model: Any, inputs: Any, *unused: Any, **also_unused: Any) -> Any:
        """The summed loss of one micro-batch, and its figures kept for the curve."""
        value, figures = self._loss(model, inputs)
        for name, figure in figures.items():
            if not math.isnan(figure):
                self._figures[name].append(figure)
        return value * self.args.world_size  # torch averages the gradients of the processes

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the figures of the step; a loss that is not finite ends the training here."""
        if not math.isfinite(logs.get("loss", 0.0)):
            raise ModelError(
                f"The loss at step {self.state.global_step} is {logs['loss']}: the training has diverged. "
                "Lower `learning_rate`, or look for non-finite labels."
            )
        if "loss" in logs:
            logs.update({name: sum(values) / len(values) for name, values in self._figures.items()})
            self._figures.clear()
            if self._evaluate_model is not None and self._is_evaluation_step():
                logs.update(self._evaluated())
        super().log(logs, start_time)

    def _is_evaluation_step(self) -> bool:
        step = self.state.global_step
        return step % self.args.save_steps == 0 or step == self.state.max_steps

    def _evaluated(self) -> dict[str, float]:
        model: Any = self.model
        model.eval()
        with torch.no_grad():
            figures = dict(self._evaluate_model(model))
        model.train()
        return figures

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: it costs time in each step and nothing reads it."""
        return 0

    def last_complete_checkpoint(self) -> str | None:
        """The newest checkpoint whose writing was finished."""
        newest = resume.newest(self._folder)
        if newest is None:
            return None
        print(f"resumes from step {resume.step_of(newest)} of {self.args.max_steps}")
        return str(newest)

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self._plan)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            resume.mark_complete(self._folder, self.state.global_step)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """A checkpoint must fit: only tied weights, which are stored once, may be missing."""
        model: Any = self.model
        tied = set(getattr(model, "all_tied_weights_keys", None) or {})
        missing, unexpected = set(load_result.missing_keys) - tied, set(load_result.unexpected_keys)
        if missing or unexpected:
            raise ModelError(
                f"The checkpoint in {self._folder} does not fit the model: missing {sorted(missing)[:5]}, "
                f"unexpected {sorted(unexpected)[:5]}. Delete the folder to start anew."
            )
        if load_result.missing_keys:
            model.tie_weights()


class _Progress(TrainerCallback):
    """Moves the stage's progress one on at each step."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.steps: Iterator[int] = iter(())

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.steps = iter(progress.track(range(state.max_steps), state.max_steps, self.label))
        for _ in range(state.global_step):
            next(self.steps, None)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        next(self.steps, None)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for _ in self.steps:
            pass
