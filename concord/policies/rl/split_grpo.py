"""TRL's GRPO trainer with micro-batches that are split if they do not fit in memory.

The samples of a micro-batch are drawn once. Only the forward and backward passes are split, by
`concord.lm.split_step`, so advantages and the weight of each sample stay the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from trl.trainer.grpo_trainer import GRPOTrainer

from concord.lm.split_step import SplitStep
from concord.stage.errors import DeviceMemoryError

LossType = Literal["dapo", "luspo"]


@dataclass
class Sampled:
    """A micro-batch: its prompts, and TRL's batch after sampling."""

    prompts: list[dict[str, Any]]
    step: int
    """TRL's count of micro-batches."""
    batch: dict[str, Any] | None = None


class SplitGRPOTrainer(GRPOTrainer):
    """See the module; the arguments are TRL's."""

    def __init__(self, loss: LossType, *arguments: Any, **kwargs: Any) -> None:
        super().__init__(*arguments, **kwargs)
        self.current: tuple[Sampled, slice] | None = None
        self.average = loss == "luspo"
        """Whether TRL's loss is a mean over rows. `dapo` divides by the tokens of all rows."""
        self.split: SplitStep[Sampled] = SplitStep(
            self._backward, self._restart, "micro_prompts", self.args.world_size
        )

    @property
    def share(self) -> float:
        """Share of the micro-batch's rows that are computed now."""
        if self.current is None:
            return 1.0
        sampled, part = self.current
        return float((part.stop - part.start) / len(sampled.prompts))

    @property
    def is_last_part(self) -> bool:
        """Whether the micro-batch ends with the rows that are computed now."""
        return self.current is None or self.current[1].stop == len(self.current[0].prompts)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """The loss of a micro-batch, whose gradient is added to that of the step."""
        sampled = Sampled(inputs, self._step)
        loss = self.split(sampled, len(inputs), last=self.accelerator.sync_gradients)
        self.current = None
        return loss

    def _backward(self, sampled: Sampled, part: slice) -> Any:
        self.current, self._step = (sampled, part), sampled.step
        return super().training_step(self.model_wrapped, sampled.prompts, None)  # type: ignore[no-untyped-call]

    def _restart(self, rows: int) -> None:
        """Removes the gradient of the step."""
        cast(Any, self.model).zero_grad()

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """The rows of TRL's batch that are computed now. Raises DeviceMemoryError."""
        assert self.current is not None
        sampled, part = self.current
        if sampled.batch is None:
            sampled.batch = self._sample(generation_batch)
        rows = len(sampled.prompts)
        return {
            name: value[part] if torch.is_tensor(value) and value.shape[:1] == (rows,) else value
            for name, value in sampled.batch.items()
        }

    def _sample(self, prompts: Any) -> dict[str, Any]:
        try:
            batch: dict[str, Any] = super()._prepare_inputs(prompts)
        except torch.OutOfMemoryError as error:
            raise DeviceMemoryError(
                f"Sampling {len(prompts)} answers at once needs more memory than the device has; "
                "set `micro_prompts` to a lower divisor of `prompts_per_step`, or lower "
                "`generations` or `max_new_tokens`."
            ) from error
        return batch

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        loss = super()._compute_loss(model, inputs)  # type: ignore[no-untyped-call]
        return loss * self.share if self.average else loss
