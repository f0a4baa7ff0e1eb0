"""The training loop: row weights, accumulation, order, curve, and resuming after SIGKILL."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from concord.lm.train import Plan, Training, _accumulation, fit
from concord.stage.errors import DataError, ModelError, ParamsError
from concord.stage.params import section

ROWS = [{"x": float(index), "length": index % 4 + 1} for index in range(8)]


class Line(torch.nn.Module):
    """y = slope * x, with dropout, so that resuming needs the state of the random generator."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor([0.0]))
        self.dropout = torch.nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(x) * self.slope


def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor([row[name] for row in rows]) for name in ("x", "weight")}


def loss(
    model: torch.nn.Module, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, dict[str, float]]:
    errors = (model(batch["x"]) - 2 * batch["x"]) ** 2
    return (errors * batch["weight"]).sum(), {"rows": float(len(errors))}


def curve_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def fitted(training: Training, rows: list[dict[str, Any]] = ROWS, **kwargs: Any) -> float:
    model = Line()
    fit(model, rows, collate, loss, training, seed=0, **kwargs)
    return model.slope.item()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 1, "epochs": 1.0}, "exactly one of `steps` and `epochs`"),
        ({}, "exactly one of `steps` and `epochs`"),
        ({"steps": 1, "micro_batch": 3}, "`micro_batch` 3 does not divide `batch_size` 8"),
        ({"steps": 0}, "`steps` is 0"),
        ({"steps": 1, "learning_rate": -1.0}, "`learning_rate` is -1"),
        ({"steps": 1, "warmup_share": 2.0}, "`warmup_share` is 2"),
        ({"steps": 1, "bath_size": 2}, "bath_size.*did you mean batch_size"),
    ],
)
def test_invalid_hyperparameters_are_rejected(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        section(Training, {"learning_rate": 0.1, "batch_size": 8, **changes}, "sft.training")


def test_one_batch_of_eight_equals_eight_of_one(tmp_path: Path) -> None:
    whole = Training(learning_rate=0.1, batch_size=8, steps=5)
    parts = Training(learning_rate=0.1, batch_size=8, steps=5, micro_batch=1)
    slopes = [
        fitted(training, curve=tmp_path / f"{training.micro}.csv") for training in (whole, parts)
    ]
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-6)
    assert slopes[0] != 0
    for column in ("loss", "grad_norm"):  # Adam hides the scale of a gradient, the norm does not
        figures = [
            [float(row[column]) for row in curve_of(tmp_path / f"{micro}.csv")] for micro in (8, 1)
        ]
        assert figures[0] == pytest.approx(figures[1], rel=1e-4)


def test_the_first_loss_is_the_weighted_sum(tmp_path: Path) -> None:
    """Slope 0, rows x = 1 and 3: errors (2 x)^2 = 4 and 36; weights .75 and .25 give 3 + 9 = 12."""
    rows = [{"x": 1.0, "weight": 0.75}, {"x": 3.0, "weight": 0.25}]
    fitted(Training(learning_rate=0.1, batch_size=2, steps=1), rows, curve=tmp_path / "curve.csv")
    (row,) = curve_of(tmp_path / "curve.csv")
    assert list(row) == ["step", "loss", "learning_rate", "grad_norm", "rows"]
    assert float(row["loss"]) == pytest.approx(12.0)


def test_the_last_batch_is_filled_with_rows_of_weight_zero() -> None:
    plan = Plan(
        ROWS[:5], Training(learning_rate=0.1, batch_size=4, epochs=1.0), seed=0, order="given"
    )
    assert plan.steps == 2
    assert [plan[i]["weight"] for i in range(8)] == [0.25] * 4 + [1.0, 0.0, 0.0, 0.0]


def test_weights_are_computed_over_one_global_batch() -> None:
    def by_length(batch: list[dict[str, Any]]) -> list[float]:
        total = sum(row["length"] for row in batch)
        return [row["length"] / total for row in batch]

    training = Training(learning_rate=0.1, batch_size=4, steps=4, micro_batch=1)
    plan = Plan(ROWS, training, seed=0, weights=by_length)
    sums = [sum(plan[step * 4 + i]["weight"] for i in range(4)) for step in range(4)]
    assert sums == pytest.approx([1.0] * 4)


def test_every_epoch_uses_every_row_once_in_a_new_order() -> None:
    plan = Plan(ROWS, Training(learning_rate=0.1, batch_size=4, epochs=2.0), seed=3)
    seen = [plan[i]["x"] for i in range(16)]
    assert sorted(seen[:8]) == sorted(seen[8:]) == [row["x"] for row in ROWS]
    assert seen[:8] != seen[8:]
    again = Plan(ROWS, Training(learning_rate=0.1, batch_size=4, epochs=2.0), seed=3)
    assert seen == [again[i]["x"] for i in range(16)]


def test_rows_are_sorted_by_length_only_within_a_step() -> None:
    training = Training(learning_rate=0.1, batch_size=4, steps=2)
    plain, grouped = (
        Plan(ROWS, training, seed=1, length=key) for key in (None, lambda row: row["length"])
    )
    for step in range(2):
        batches = [[plan[step * 4 + i] for i in range(4)] for plan in (plain, grouped)]
        assert sorted(row["x"] for row in batches[0]) == sorted(row["x"] for row in batches[1])
        assert [row["length"] for row in batches[1]] == sorted(row["length"] for row in batches[1])


def test_training_without_rows_is_an_error() -> None:
    with pytest.raises(DataError, match="0 rows"):
        fitted(Training(learning_rate=0.1, batch_size=4, steps=1), [])


def test_a_non_finite_loss_stops_training() -> None:
    with pytest.raises(ModelError, match="step 1 is nan"):
        fitted(Training(learning_rate=0.1, batch_size=1, steps=2), [{"x": float("nan")}])


def test_evaluation_metrics_are_in_the_curve_and_the_work_folder_is_deleted(tmp_path: Path) -> None:
    training = Training(learning_rate=0.1, batch_size=4, steps=5, checkpoint_every=2)
    fitted(
        training,
        curve=tmp_path / "c.csv",
        work=tmp_path / "work",
        evaluate=lambda model: {"score": 1.0},
    )
    assert [row["score"] for row in curve_of(tmp_path / "c.csv")] == ["", "1.0", "", "1.0", "1.0"]
    assert not (tmp_path / "work").exists()


def train_with_dropout(out: Path, die_at: int = 0) -> tuple[torch.Tensor, int]:
    """Trains for 9 steps of 2 micro-batches; SIGKILL in call `die_at` of the loss. Slope, calls."""
    calls = [0]

    def deadly(
        model: torch.nn.Module, batch: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, dict[str, float]]:
        calls[0] += 1
        if calls[0] == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(model, batch)

    model = Line(dropout=0.5)
    training = Training(learning_rate=0.1, batch_size=4, steps=9, micro_batch=2, checkpoint_every=3)
    fit(model, ROWS, collate, deadly, training, seed=7, work=out / "work", curve=out / "curve.csv")
    return model.slope.detach(), calls[0]


def test_parameters_can_have_a_custom_learning_rate() -> None:
    slope = fitted(Training(learning_rate=0.1, batch_size=4, steps=5), rates={"slope": 0.02})
    assert slope == fitted(Training(learning_rate=0.02, batch_size=4, steps=5))
    assert slope != fitted(
        Training(learning_rate=0.1, batch_size=4, steps=5), rates={"other": 0.02}
    )


DEADLY = """
import sys, torch
from pathlib import Path
sys.path.insert(0, sys.argv[1])
torch.set_num_threads(1)
from test_train import train_with_dropout
train_with_dropout(Path(sys.argv[2]), die_at=15)
"""


def test_a_killed_training_resumes_and_gives_identical_results(tmp_path: Path) -> None:
    """Killed in step 8, after the checkpoint of step 6: 3 steps (6 calls of the loss) remain."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", DEADLY, str(Path(__file__).parent), str(killed)]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert (killed / "work/checkpoint-6/complete").exists()
    (killed / "work/checkpoint-7").mkdir()  # An incomplete checkpoint is ignored.
    slope, calls = train_with_dropout(whole)
    resumed, calls_left = train_with_dropout(killed)
    assert (calls, calls_left) == (18, 6)
    assert torch.equal(slope, resumed)
    assert (whole / "curve.csv").read_bytes() == (killed / "curve.csv").read_bytes()
    assert not (killed / "work").exists()


SHARED = """
import sys, torch
from pathlib import Path
sys.path.insert(0, sys.argv[1])
torch.set_num_threads(1)
from test_train import shared
shared(Path(sys.argv[2]))
"""


def shared(curve: Path) -> None:
    """6 rows, 3 epochs, batches of 8: full batches and an incomplete one."""
    training = Training(learning_rate=0.1, batch_size=8, epochs=3.0, micro_batch=2)
    fit(Line(), ROWS[:6], collate, loss, training, seed=0, curve=curve)


def test_two_processes_share_a_batch_without_repeating_rows(tmp_path: Path) -> None:
    """Rows must not be repeated if a batch is not full."""
    shared(tmp_path / "one.csv")
    root = Path(__file__).parents[2]
    (tmp_path / "shared.py").write_text(SHARED)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [
        *launch,
        str(tmp_path / "shared.py"),
        str(Path(__file__).parent),
        str(tmp_path / "two.csv"),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    environment["CUDA_VISIBLE_DEVICES"] = ""
    done = subprocess.run(
        command, env=environment, cwd=root, capture_output=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode()
    assert curve_of(tmp_path / "two.csv") == curve_of(tmp_path / "one.csv")


def test_a_batch_that_cannot_be_divided_between_processes_is_rejected() -> None:
    training = Training(learning_rate=0.1, batch_size=6, steps=1, micro_batch=3)
    assert _accumulation(training, 2) == 1
    with pytest.raises(ParamsError, match="cannot be shared by 4 processes"):
        _accumulation(training, 4)
