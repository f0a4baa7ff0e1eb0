"""The `transformers.Trainer` behind `concord.lm.train.fit`.

It sums the losses of a step, records metrics, and writes checkpoints that are safe to resume from.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from accelerate.utils import send_to_device  # type: ignore[import-untyped]
from torch.utils.data import SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from concord.lm.learning_rates import separate
from concord.lm.precision import autocast
from concord.lm.split_step import SplitStep
from concord.stage import progress, resume
from concord.stage.errors import ModelError

if TYPE_CHECKING:
    from concord.lm.train import Evaluate, Loss, Plan, Row


@dataclass(frozen=True)
class MicroBatch:
    """The rows of a micro-batch. They are collated when they are used, since they may be split."""

    rows: list[Row]


class StepTrainer(Trainer):
    """A Trainer whose loss is a weighted sum over the rows of the global batch.

    The rows are used in the order of the plan. After an out-of-memory error, micro-batches are
    split (`concord.lm.split_step`); `restart` is called with the step and its number of parts.
    """

    loss_is_scaled_for_ga = True  # The losses of micro-batches are summed, not averaged.

    def __init__(
        self,
        model: torch.nn.Module,
        args: TrainingArguments,
        plan: Plan,
        collate: Callable[[list[Row]], Any],
        loss: Loss,
        evaluate: Evaluate | None = None,
        rates: Mapping[str, float] | None = None,
        dtype: str = "float32",
        label: str = "training",
        restart: Callable[[int, int], None] | None = None,
    ) -> None:
        super().__init__(model, args, train_dataset=plan, data_collator=cast(Any, MicroBatch))
        self._collate, self._restarted = collate, restart
        self._split: SplitStep[list[Row]] = SplitStep(
            self._backward, self._restart, "training.micro_batch", args.world_size
        )
        self._plan, self._folder = plan, Path(str(args.output_dir))
        self._loss, self._evaluate_model, self._rates = loss, evaluate, dict(rates or {})
        self._dtype = dtype
        self._metrics: dict[str, list[float]] = defaultdict(list)
        self.remove_callback(PrinterCallback)
        self.add_callback(_Progress(label))

    def create_optimizer(self, model: Any = None) -> Any:
        """The Trainer's optimiser; parameters with a custom learning rate get their own groups."""
        optimizer = super().create_optimizer(model)
        separate(optimizer, cast(Any, self.model), self._rates)
        return optimizer

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """The loss of a micro-batch, whose gradient is added to that of the step."""
        rows = inputs.rows
        return self._split(rows, len(rows), last=self.accelerator.sync_gradients)

    def _backward(self, rows: list[Row], part: slice) -> Any:
        batch = send_to_device(self._collate(rows[part]), self.args.device)
        return super().training_step(self.model_wrapped, batch)

    def _restart(self, rows: int) -> None:
        """Removes what the step has added to gradients and metrics."""
        cast(Any, self.model).zero_grad()
        self._metrics.clear()
        if self._restarted is not None:
            parts = self.args.gradient_accumulation_steps * math.ceil(
                self.args.per_device_train_batch_size / rows
            )
            self._restarted(self.state.global_step, parts)

    def compute_loss(self, model: Any, inputs: Any, *unused: Any, **also_unused: Any) -> Any:
        """The summed loss of one micro-batch; its metrics are stored for the training curve."""
        with autocast(self.args.device, self._dtype):
            value, metrics = self._loss(model, inputs)
        for name, metric in metrics.items():
            if not math.isnan(metric):
                self._metrics[name].append(metric)
        return value * self.args.world_size  # torch averages gradients over the processes.

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Logs the metrics of the step. Raises ModelError if the loss is not finite."""
        if not math.isfinite(logs.get("loss", 0.0)):
            raise ModelError(
                f"The loss at step {self.state.global_step} is {logs['loss']}: training diverged. "
                "Lower `learning_rate`, or check the labels for non-finite values."
            )
        if "loss" in logs:
            logs.update({name: sum(values) / len(values) for name, values in self._metrics.items()})
            self._metrics.clear()
            if self._evaluate_model is not None and self._is_evaluation_step():
                logs.update(self._evaluation_metrics())
        super().log(logs, start_time)

    def _is_evaluation_step(self) -> bool:
        step = self.state.global_step
        return step % self.args.save_steps == 0 or step == self.state.max_steps

    def _evaluation_metrics(self) -> dict[str, float]:
        model: Any = self.model
        assert self._evaluate_model is not None
        model.eval()
        with torch.no_grad(), autocast(self.args.device, self._dtype):
            metrics = dict(self._evaluate_model(model))
        model.train()
        return metrics

    def floating_point_ops(self, inputs: Any) -> int:
        """0: counting operations costs time in every step, and nothing uses the count."""
        return 0

    def last_complete_checkpoint(self) -> str | None:
        """The newest checkpoint that was written completely, None if there is none."""
        newest = resume.newest(self._folder)
        if newest is None:
            return None
        print(f"resuming from step {resume.step_of(newest)} of {self.args.max_steps}")
        return str(newest)

    def _get_num_items_in_batch(self, batch_samples: Any, device: Any) -> None:
        """None: the weights of the rows already say how much each of them counts."""

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self._plan)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            resume.mark_complete(self._folder, self.state.global_step)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Raises ModelError if the checkpoint does not match the model.

        Only tied weights, which are stored once, may be missing.
        """
        model: Any = self.model
        tied = set(getattr(model, "all_tied_weights_keys", None) or {})
        missing, unexpected = set(load_result.missing_keys) - tied, set(load_result.unexpected_keys)
        if missing or unexpected:
            raise ModelError(
                f"The checkpoint in {self._folder} does not fit the model: missing "
                f"{sorted(missing)[:5]}, unexpected {sorted(unexpected)[:5]}. "
                "Delete the folder to start from the beginning."
            )
        if load_result.missing_keys:
            model.tie_weights()


class _Progress(TrainerCallback):
    """Advances the progress bar of the stage by one at each step, which logs its loss."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.steps: Iterator[int] = iter(())
        self.figures: dict[str, float] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        steps, start = state.max_steps, state.global_step
        todo = range(start, steps)
        self.steps = iter(progress.track(todo, steps, self.label, start, self.figures))
        next(self.steps, None)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if "loss" in (logs := kwargs["logs"]):
            self.figures["loss"] = logs["loss"]
            next(self.steps, None)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for _ in self.steps:
            pass
