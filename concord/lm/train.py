"""One training loop for every stage that fits a model: `fit`, on `transformers.Trainer`.

A step sees one global batch of `batch_size` rows. Each row carries its own `weight` in that batch and the loss is the
SUM over rows of weight times row loss, so that cutting the batch into micro-batches (`micro_batch`), or over several
processes, leaves the gradient as it was. A last batch that is not full is filled up with rows of weight 0.

With a `work` folder the state is saved every `checkpoint_every` steps; a fit that was killed goes on from its last
complete checkpoint and ends, on a CPU, with the same bits as one that was not. The folder is deleted on success.
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

from concord.stage.errors import DataError, ParamsError
from concord.stage.params import FORBID

if TYPE_CHECKING:
    import torch

Row = dict[str, Any]
Loss = Callable[["torch.nn.Module", Any], tuple["torch.Tensor", dict[str, float]]]


@dataclass(frozen=True, config=FORBID)
class Training:
    """How a model is fitted (AdamW). Exactly one of `steps` and `epochs` is given."""

    learning_rate: float
    """Peak learning rate, reached at the end of the warm-up."""
    batch_size: int
    """Rows in one step, over all processes and micro-batches."""
    steps: int | None = None
    """Optimiser steps."""
    epochs: float | None = None
    """Passes over the rows."""
    micro_batch: int | None = None
    """Rows in one forward pass (default: the whole batch); divides `batch_size`."""
    warmup_share: float = 0.05
    """Share of the steps in which the learning rate rises, 0 to 1."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """What the learning rate does after the warm-up."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = 1.0
    """Gradient norm above which the gradient is scaled down; 0 leaves it alone."""
    checkpoint_every: int = 50
    """Steps between two saved states."""

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give exactly one of `steps` and `epochs`")
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
                raise ValueError(f"`{name}` is {value}; it must be above 0")
        if self.batch_size % self.micro:
            raise ValueError(
                f"`micro_batch` {self.micro} does not divide `batch_size` {self.batch_size}"
            )
        if not 0 <= self.warmup_share <= 1:
            raise ValueError(f"`warmup_share` is {self.warmup_share}; it must lie between 0 and 1")

    @property
    def micro(self) -> int:
        """Rows in one forward pass."""
        return self.micro_batch or self.batch_size


class Plan:
    """The rows of the whole training in order, each with its weight: step s is rows [s * batch, (s + 1) * batch).

    Args: `weights` gives the weights of the rows of one global batch; without it a row keeps the `weight` that it has,
    or gets 1 / (rows in its batch). `length` sorts the rows within a step, so that micro-batches carry less padding.
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
                "There are 0 rows to train on: a model cannot be fitted. Look at the stage's input table."
            )
        self.rows = rows
        self.batch_size = training.batch_size
        order_of_rows = _order(
            len(rows), _total(len(rows), training), seed if order == "shuffle" else None
        )
        self.picks: list[tuple[int, float | None]] = []
        for start in range(0, len(order_of_rows), self.batch_size):
            self.picks.extend(
                self._step(order_of_rows[start : start + self.batch_size], weights, length)
            )

    def _step(
        self,
        indices: list[int],
        weights: Callable[[list[Row]], list[float]] | None,
        length: Callable[[Row], int] | None,
    ) -> list[tuple[int, float | None]]:
        if length is not None:
            indices = sorted(indices, key=lambda index: length(self.rows[index]))
        batch = [self.rows[index] for index in indices]
        given = (
            weights(batch) if weights else [row.get("weight", 1.0 / len(batch)) for row in batch]
        )
        filler = [(indices[0], 0.0)] * (self.batch_size - len(indices))
        return [*zip(indices, given, strict=True), *filler]

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        return len(self.picks) // self.batch_size

    def __len__(self) -> int:
        return len(self.picks)

    def __getitem__(self, position: int) -> Row:
        index, weight = self.picks[position]
        return {**self.rows[index], "weight": weight}


def _total(rows: int, training: Training) -> int:
    if training.steps is not None:
        return training.steps * training.batch_size
    return max(1, round(cast(float, training.epochs) * rows))


def _order(rows: int, total: int, seed: int | None) -> list[int]:
    """`total` row numbers, pass by pass; with a seed each pass has a fresh order."""
    generator = random.Random(seed)
    order: list[int] = []
    while len(order) < total:
        one_pass = list(range(rows))
        if seed is not None:
            generator.shuffle(one_pass)
        order.extend(one_pass)
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
    evaluate: Callable[[torch.nn.Module], dict[str, float]] | None = None,
    weights: Callable[[list[Row]], list[float]] | None = None,
    length: Callable[[Row], int] | None = None,
    rates: Mapping[str, float] | None = None,
    label: str = "training",
) -> None:
    """Train `model` in place.

    Args:
        rows: one dict each; see `Plan` for order, `weight`, `weights` and `length`.
        collate: rows (with `weight`) -> batch, what `loss` reads; tensors in it are moved to the model's device.
        loss: (model, batch) -> (sum over rows of weight times row loss, figures for the curve: the mean over the
            micro-batches of a step is kept, NaN left out).
        work: keyed checkpoint folder (`concord.stage.resume.folder`); None saves nothing on the way.
        curve: CSV with the columns step, loss, learning_rate, grad_norm and the figures; written at the end.
        rates: name of a submodule's or a parameter's prefix -> its own peak learning rate.
        evaluate: called on the model every `checkpoint_every` steps and at the end; its figures enter the curve.
    Raises: DataError without rows; ModelError when the loss is no longer finite or a checkpoint does not fit.
    """
    from concord.lm.trainer import (
        StepTrainer,  # imports torch and transformers: only where a model is fitted
    )

    plan = Plan(rows, training, seed=seed, order=order, weights=weights, length=length)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = _arguments(
            model, plan, training, work or Path(scratch), seed, save=work is not None
        )
        trainer = StepTrainer(model, arguments, plan, collate, loss, evaluate, rates, label)
        trainer.train(resume_from_checkpoint=trainer.last_complete_checkpoint())
    model.eval()
    if curve is not None and trainer.is_world_process_zero():
        _write_curve(curve, trainer.state.log_history)
    if work is not None and trainer.is_world_process_zero():
        shutil.rmtree(work, ignore_errors=True)


def _arguments(
    model: Any, plan: Plan, training: Training, folder: Path, seed: int, *, save: bool
) -> Any:
    from transformers import TrainingArguments

    on_cpu = next(model.parameters()).device.type == "cpu"
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=plan.steps,
        per_device_train_batch_size=training.micro,
        learning_rate=training.learning_rate,
        lr_scheduler_type="constant_with_warmup"
        if training.schedule == "constant"
        else training.schedule,
        warmup_steps=round(training.warmup_share * plan.steps),
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        save_strategy="steps" if save else "no",
        save_steps=training.checkpoint_every,
        save_total_limit=2,
        logging_steps=1,
        logging_nan_inf_filter=False,
        seed=seed,
        report_to="none",
        disable_tqdm=True,
        use_cpu=on_cpu,
        bf16=False,
        remove_unused_columns=False,
        label_names=[],
        dataloader_num_workers=0,
        dataloader_pin_memory=not on_cpu,
    )
    arguments._n_gpu = min(
        1, arguments.n_gpu
    )  # several GPUs mean several processes, never torch's DataParallel
    arguments.gradient_accumulation_steps = _accumulation(training, arguments.world_size)
    return arguments


def _accumulation(training: Training, processes: int) -> int:
    accumulation, rest = divmod(training.batch_size, training.micro * processes)
    if rest or not accumulation:
        raise ParamsError(
            f"`batch_size` {training.batch_size} with `micro_batch` {training.micro} cannot be shared by {processes} "
            f"processes: rows would be repeated. Make `batch_size` a multiple of `micro_batch` times the processes."
        )
    return accumulation


def _write_curve(path: Path, history: list[dict[str, Any]]) -> None:
    steps: dict[int, dict[str, Any]] = defaultdict(dict)
    for entry in history:
        if "loss" in entry:
            steps[entry["step"]].update(entry)
    first = ["step", "loss", "learning_rate", "grad_norm"]
    rest = {name for entry in steps.values() for name in entry} - {*first, "epoch"}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(
            file, [*first, *sorted(rest)], extrasaction="ignore", lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(dict(_rounded(steps[step])) for step in sorted(steps))
    partial.rename(path)


def _rounded(entry: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in entry.items():
        yield name, float(f"{value:.6g}") if isinstance(value, float) else value
