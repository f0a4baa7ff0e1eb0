"""The training loop of all stages that fit a model: `fit`, built on `transformers.Trainer`.

Each step uses one global batch of `batch_size` rows. Each row has a `weight`, and the loss of the
batch is the sum over rows of weight times row loss. Splitting the batch into micro-batches
(`micro_batch`) or across processes therefore does not change the gradient. An incomplete last batch
is filled with rows of weight 0. For the same reason, micro-batches that do not fit in memory are
halved (`concord.lm.split_step`).

With a `work` folder, the state is saved every `checkpoint_every` steps. A fit that was killed
resumes from its last complete checkpoint; on a CPU, the result is bit-identical to that of an
uninterrupted fit. The folder is deleted on success.
"""

from __future__ import annotations

import csv
import math
import random
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic.dataclasses import dataclass

from concord.lm import trackers
from concord.stage.errors import DataError, ParamsError
from concord.stage.params import FORBID

if TYPE_CHECKING:
    import torch

Row = dict[str, Any]
"""One training example; its keys are those that `collate` reads, and optionally `weight`."""
Loss = Callable[[Any, Any], tuple["torch.Tensor", dict[str, float]]]
"""(model, batch) -> (loss of the batch, metrics for the training curve).

The types of model and batch are those that the caller gives to `fit`.
"""
Evaluate = Callable[[Any], dict[str, float]]
"""model -> metrics for the training curve."""


@dataclass(frozen=True, config=FORBID)
class Training:
    """Hyperparameters of the optimiser (AdamW). Set exactly one of `steps` and `epochs`."""

    learning_rate: float
    """Peak learning rate, reached at the end of the warm-up."""
    batch_size: int
    """Rows per step, summed over all processes and micro-batches."""
    steps: int | None = None
    """Optimiser steps."""
    epochs: float | None = None
    """Passes over the rows."""
    micro_batch: int | None = None
    """Rows per forward pass (default: the whole batch); must divide `batch_size`."""
    warmup_share: float = 0.05
    """Share of the steps used for warm-up, between 0 and 1."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Learning rate schedule after the warm-up."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = 1.0
    """Gradients with a larger norm are clipped to this norm; 0 turns clipping off."""
    checkpoint_every: int = 50
    """Steps between checkpoints."""

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("set exactly one of `steps` and `epochs`")
        for name in (
            "learning_rate",
            "batch_size",
            "steps",
            "epochs",
            "micro_batch",
            "checkpoint_every",
        ):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"`{name}` is {value}; it must be greater than 0")
        if self.batch_size % self.micro:
            raise ValueError(
                f"`micro_batch` {self.micro} does not divide `batch_size` {self.batch_size}; "
                "set `batch_size` to a multiple of it"
            )
        if not 0 <= self.warmup_share <= 1:
            raise ValueError(f"`warmup_share` is {self.warmup_share}; it must be between 0 and 1")

    @property
    def micro(self) -> int:
        """Rows per forward pass."""
        return self.micro_batch or self.batch_size


class Plan:
    """All rows of a training run in order, with their weights; a map-style dataset for torch.

    Step s uses the rows [s * batch_size, (s + 1) * batch_size).

    Args:
        order: `shuffle` draws a new order for each epoch; `given` keeps the order of `rows`.
        weights: rows of one global batch -> their weights. Without it, a row keeps its `weight`, or
            gets 1 / (rows in its batch) if it has none.
        length: length of a row. The rows of a step are sorted by it, so that micro-batches contain
            less padding.

    Raises DataError if there are no rows.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        training: Training,
        *,
        seed: int,
        order: Literal["shuffle", "given"] = "shuffle",
        weights: Callable[[list[Row]], list[float]] | None = None,
        length: Callable[[Row], int] | None = None,
    ) -> None:
        if not len(rows):
            raise DataError(
                "There are 0 rows to train on, so no model can be fitted. "
                "Check the input table of the stage."
            )
        self.rows = rows
        self.batch_size = training.batch_size
        total = _total_rows(len(rows), training)
        indices = _row_order(len(rows), total, seed if order == "shuffle" else None)
        self._picks: list[tuple[int, float | None]] = []
        for start in range(0, len(indices), self.batch_size):
            batch = indices[start : start + self.batch_size]
            self._picks.extend(self._weighted(batch, weights, length))

    def _weighted(
        self,
        indices: list[int],
        weights: Callable[[list[Row]], list[float]] | None,
        length: Callable[[Row], int] | None,
    ) -> list[tuple[int, float | None]]:
        """(index, weight) of each row of one global batch, filled up to the batch size."""
        if length is not None:
            indices = sorted(indices, key=lambda index: length(self.rows[index]))
        batch = [self.rows[index] for index in indices]
        if weights:
            row_weights = weights(batch)
        else:
            row_weights = [row.get("weight", 1.0 / len(batch)) for row in batch]
        filler = [(indices[0], 0.0)] * (self.batch_size - len(indices))
        return [*zip(indices, row_weights, strict=True), *filler]

    @property
    def steps(self) -> int:
        """Number of optimiser steps."""
        return len(self._picks) // self.batch_size

    def __len__(self) -> int:
        return len(self._picks)

    def __getitem__(self, position: int) -> Row:
        index, weight = self._picks[position]
        return {**self.rows[index], "weight": weight}


def _total_rows(rows: int, training: Training) -> int:
    """Number of rows over the whole training run."""
    if training.steps is not None:
        return training.steps * training.batch_size
    return max(1, round(cast(float, training.epochs) * rows))


def _row_order(rows: int, total: int, seed: int | None) -> list[int]:
    """`total` row indices, epoch by epoch; with a seed, each epoch is shuffled separately."""
    generator = random.Random(seed)
    order: list[int] = []
    while len(order) < total:
        epoch = list(range(rows))
        if seed is not None:
            generator.shuffle(epoch)
        order.extend(epoch)
    return order[:total]


def fit(
    model: torch.nn.Module,
    rows: Sequence[Row],
    collate: Callable[[list[Row]], Any],
    loss: Loss,
    training: Training,
    *,
    seed: int,
    work: Path | None = None,
    curve: Path | None = None,
    order: Literal["shuffle", "given"] = "shuffle",
    evaluate: Evaluate | None = None,
    weights: Callable[[list[Row]], list[float]] | None = None,
    length: Callable[[Row], int] | None = None,
    rates: Mapping[str, float] | None = None,
    dtype: str = "float32",
    label: str = "training",
    report_to: Sequence[str] = (),
    restart: Callable[[int, int], None] | None = None,
) -> None:
    """Trains `model`, whose parameters are float32, in place and leaves it in evaluation mode.

    Args:
        rows: training examples; `Plan` documents `order`, `weights`, `length` and the key `weight`.
        collate: rows, each with its `weight` -> batch, the second argument of `loss`. Tensors in
            the batch are moved to the model's device.
        loss: (model, batch) -> (sum over rows of weight times row loss, metrics). The mean of each
            metric over the micro-batches of a step, without NaN, is written to the curve.
        work: checkpoint folder (`concord.stage.resume.folder`); None saves no checkpoints.
        curve: CSV file with the columns step, loss, learning_rate, grad_norm and the metrics,
            written at the end.
        evaluate: called on the model every `checkpoint_every` steps and at the end; the metrics
            that it returns are written to the curve.
        rates: prefix of parameter names -> peak learning rate of these parameters.
        dtype: `loss` and `evaluate` run in `concord.lm.precision.autocast` with this data type.
        label: description of the progress bar, and name of the run where logs are sent.
        report_to: services that logs are sent to (`runtime.report_to`).
        restart: called with a step and its number of forward passes, before the step is repeated
            with smaller micro-batches.

    Raises DataError if there are no rows, ModelError if the loss is not finite or a checkpoint does
    not fit the model, and DeviceMemoryError if a single row does not fit in memory.
    """
    # Imported here because it imports torch and transformers.
    from concord.lm.trainer import StepTrainer

    plan = Plan(rows, training, seed=seed, order=order, weights=weights, length=length)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = _arguments(
            model,
            plan,
            training,
            work or Path(scratch),
            seed,
            save=work is not None,
            reporting=trackers.arguments(report_to, label),
        )
        trainer = StepTrainer(
            model, arguments, plan, collate, loss, evaluate, rates, dtype, label, restart
        )
        trainer.train(resume_from_checkpoint=trainer.last_complete_checkpoint())
    model.eval()
    if curve is not None and trainer.is_world_process_zero():
        _write_curve(curve, trainer.state.log_history)
    if work is not None and trainer.is_world_process_zero():
        shutil.rmtree(work, ignore_errors=True)


def _arguments(
    model: torch.nn.Module,
    plan: Plan,
    training: Training,
    folder: Path,
    seed: int,
    *,
    save: bool,
    reporting: Mapping[str, Any],
) -> Any:
    from transformers import TrainingArguments

    on_cpu = next(model.parameters()).device.type == "cpu"
    constant = training.schedule == "constant"
    schedule = "constant_with_warmup" if constant else training.schedule
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=plan.steps,
        per_device_train_batch_size=training.micro,
        learning_rate=training.learning_rate,
        lr_scheduler_type=schedule,
        warmup_steps=round(training.warmup_share * plan.steps),
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        save_strategy="steps" if save else "no",
        save_steps=training.checkpoint_every,
        save_total_limit=2,
        logging_steps=1,
        logging_nan_inf_filter=False,
        seed=seed,
        disable_tqdm=True,
        use_cpu=on_cpu,
        bf16=False,
        remove_unused_columns=False,
        label_names=[],
        dataloader_num_workers=0,
        dataloader_pin_memory=not on_cpu,
        **reporting,
    )
    # Several GPUs are used by several processes, never by torch's DataParallel.
    arguments._n_gpu = min(1, arguments.n_gpu)
    arguments.gradient_accumulation_steps = _accumulation(training, arguments.world_size)
    return arguments


def _accumulation(training: Training, processes: int) -> int:
    """Number of micro-batches per process and step. Raises ParamsError if it is not an integer."""
    accumulation, rest = divmod(training.batch_size, training.micro * processes)
    if rest or not accumulation:
        raise ParamsError(
            f"`batch_size` {training.batch_size} with `micro_batch` {training.micro} cannot be "
            f"shared by {processes} processes: rows would be repeated. Set `batch_size` to a "
            "multiple of `micro_batch` times the number of processes."
        )
    return accumulation


def _write_curve(path: Path, history: list[dict[str, Any]]) -> None:
    steps: dict[int, dict[str, Any]] = defaultdict(dict)
    for entry in history:
        if "loss" in entry:
            steps[entry["step"]].update(entry)
    columns = ["step", "loss", "learning_rate", "grad_norm"]
    metrics = {name for entry in steps.values() for name in entry} - {*columns, "epoch"}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(
            file, [*columns, *sorted(metrics)], extrasaction="ignore", lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(dict(_rounded(steps[step])) for step in sorted(steps))
    partial.rename(path)


def _rounded(entry: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in entry.items():
        yield name, float(f"{value:.6g}") if isinstance(value, float) else value
