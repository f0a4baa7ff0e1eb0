"""Micro-batches are halved after an out-of-memory error, and the result stays the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from concord.lm.train import Training, fit
from concord.stage.errors import DeviceMemoryError
from tests.lm.test_train import ROWS, Line, collate, curve_of, loss

Batch = dict[str, Tensor]


class Shortage(torch.autograd.Function):
    """The identity, whose backward pass runs out of memory."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise torch.OutOfMemoryError("planted in the backward pass")


def limited(rows: int, from_call: int = 0, backward: bool = False) -> tuple[Any, list[int]]:
    """A loss that has memory for `rows` rows from some call on, and the rows of each call."""
    calls: list[int] = []

    def scarce(model: Any, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        calls.append(len(batch["x"]))
        value, metrics = loss(model, batch)
        if len(batch["x"]) > rows and len(calls) > from_call:
            if not backward:
                raise torch.OutOfMemoryError("planted in the forward pass")
            other, _ = loss(model, batch)  # this half of the gradient is added before the error
            return other + Shortage.apply(value), metrics
        return value, metrics

    return scarce, calls


def trained(
    training: Training, curve: Path, used: Callable[..., Any], dropout: float = 0.0
) -> tuple[float, list[dict[str, str]]]:
    model = Line(dropout)
    torch.manual_seed(3)
    fit(model, ROWS, collate, used, training, seed=0, curve=curve)
    return model.slope.item(), curve_of(curve)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(
    ("micro", "memory", "from_call", "calls"),
    [
        (8, 2, 0, [8, 4, *[2] * 16]),  # halved twice in the first step
        (8, 4, 2, [8, 8, 8, 4, 4, 4, 4]),  # the first two steps fit
        (4, 2, 5, [4, 4, 4, 4, 4, 4, *[2] * 8]),  # the second micro-batch of the third step
        (4, 3, 5, [4, 4, 4, 4, 4, 4, *[2] * 8]),
    ],
)
def test_the_result_is_that_of_small_micro_batches(
    tmp_path: Path, micro: int, memory: int, from_call: int, calls: list[int], backward: bool
) -> None:
    settings = {"learning_rate": 0.1, "batch_size": 8, "steps": 4}
    scarce, seen = limited(memory, from_call, backward)
    slope, curve = trained(Training(**settings, micro_batch=micro), tmp_path / "a.csv", scarce)
    assert seen == calls
    expected, usual = trained(Training(**settings, micro_batch=2), tmp_path / "b.csv", loss)
    assert slope == pytest.approx(expected, rel=1e-6)
    assert slope != 0
    for column in ("loss", "grad_norm", "learning_rate"):
        figures = [[float(row[column]) for row in one] for one in (curve, usual)]
        assert figures[0] == pytest.approx(figures[1], rel=1e-5)


def test_a_repeated_step_draws_the_same_dropout(tmp_path: Path) -> None:
    training = {"learning_rate": 0.1, "batch_size": 8, "steps": 3}
    scarce, _ = limited(2)
    results = [
        trained(Training(**training, micro_batch=micro), tmp_path / "curve.csv", used, dropout=0.5)
        for micro, used in ((8, scarce), (2, loss))
    ]
    assert results[0] == results[1]


def test_a_restart_is_announced_with_the_number_of_forward_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scarce, _ = limited(3, from_call=3)
    training = Training(learning_rate=0.1, batch_size=8, steps=3, micro_batch=4)
    announced: list[tuple[int, int]] = []
    fit(
        Line(), ROWS, collate, scarce, training, seed=0,
        restart=lambda step, passes: announced.append((step, passes)),
    )  # fmt: skip
    assert announced == [(1, 4)]
    assert "out of memory with 4 rows in a forward pass: 2 rows from now on" in (
        capsys.readouterr().out
    )


def test_a_single_row_that_does_not_fit_is_an_error() -> None:
    scarce, seen = limited(0)
    training = Training(learning_rate=0.1, batch_size=4, steps=1)
    with pytest.raises(DeviceMemoryError, match=r"pass of 1 rows need more memory .* LoRA"):
        fit(Line(), ROWS, collate, scarce, training, seed=0)
    assert seen == [4, 2, 1]
