"""A training step that needs less memory: its micro-batches are halved, the global batch is not.

An out-of-memory error can come in the middle of a backward pass, when a part of the gradient has
already been added. The step is therefore repeated from its first micro-batch, with the random state
that it began with. The smaller size is used until the end of the training.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

from concord.stage.errors import DeviceMemoryError

Batch = TypeVar("Batch")


class SplitStep(Generic[Batch]):
    """Computes the micro-batches of a step in parts that fit in memory.

    Args:
        backward: computes some rows of a micro-batch: adds their gradient to that of the step, and
            returns their loss, which must be a sum over rows.
        restart: called with the new number of rows per part, before the step is repeated. It
            removes the gradient of the step.
        setting: the setting for the size of a micro-batch, for messages.
        processes: processes that train together. Several cannot repeat a step: the others would
            wait for this one.
    """

    def __init__(
        self,
        backward: Callable[[Batch, slice], Tensor],
        restart: Callable[[int], None],
        setting: str,
        processes: int = 1,
    ) -> None:
        self.backward, self.restart = backward, restart
        self.setting, self.processes = setting, processes
        self.rows: int | None = None
        """Rows of a part; None: a micro-batch is not split."""
        self.done: list[tuple[Batch, int]] = []
        """The micro-batches of the step until now, with their numbers of rows."""
        self.loss: Tensor | float = 0.0
        """The sum of their losses."""
        self.states = random_states()

    def __call__(self, batch: Batch, size: int, last: bool) -> Tensor:
        """Adds a micro-batch of `size` rows to the step; returns what this adds to the loss.

        `last` says whether the step ends with this micro-batch. Raises DeviceMemoryError if a
        single row does not fit, or if several processes train together.
        """
        if not self.done:
            self.states, self.loss = random_states(), 0.0
        self.done.append((batch, size))
        loss = self._losses(self.done[-1:])
        while loss is None:
            self._halve()
            total = self._losses(self.done)
            loss = None if total is None else total - self.loss
        self.loss = self.loss + loss
        if last:
            self.done.clear()
        return loss

    def _losses(self, batches: Sequence[tuple[Batch, int]]) -> Tensor | None:
        """The summed loss of some micro-batches; None if a part does not fit in memory."""
        try:
            losses = [
                self.backward(batch, slice(start, min(start + (self.rows or size), size)))
                for batch, size in batches
                for start in range(0, size, self.rows or size)
            ]
        except torch.OutOfMemoryError:
            return None  # with the error, the tensors of its traceback are released
        return torch.stack(losses).sum()

    def _halve(self) -> None:
        """Halves the parts and returns to the state before the step."""
        rows = min(self.rows or self.done[-1][1], max(size for _, size in self.done))
        if rows == 1 or self.processes > 1:
            raise DeviceMemoryError(
                f"The forward and backward pass of {rows} rows need more memory than the device "
                "has. "
                + (
                    "No smaller part exists; use a smaller model, LoRA or shorter texts."
                    if rows == 1
                    else f"With several processes, it is not halved; set a lower `{self.setting}`."
                )
            )
        self.rows = (rows + 1) // 2
        print(
            f"out of memory with {rows} rows in a forward pass: {self.rows} rows from now on; the "
            "global batch stays the same"
        )
        gc.collect()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()
        set_random_states(self.states)
        self.restart(self.rows)


def random_states() -> list[Tensor]:
    """The states of torch's generators: of the CPU, and of the CUDA device if it is in use."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states.append(torch.cuda.get_rng_state())
    return states


def set_random_states(states: Sequence[Tensor]) -> None:
    """Restores what `random_states` returned."""
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state)
