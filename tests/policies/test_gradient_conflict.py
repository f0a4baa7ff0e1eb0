"""Gradient conflict between heads: weights by hand, first-order descent, and plain training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from concord.policies import preference
from concord.policies.dual_cone import REGULARISATION
from concord.policies.gradient_conflict import Aggregator, GradientConflict, gradient_weights
from concord.policies.job import PolicyJob
from concord.policies.methods import mah_dpo
from concord.policies.objective_gradients import ObjectiveGradients
from concord.stage.errors import ParamsError
from tests.policies.conftest import OBJECTIVES, TRAINING, MakeJob

MIXED = {"method": "mah_dpo", "mixes": {"corners": 0.5}, "min_gap": 0.0}
TOLERANCE = {"upgrad": REGULARISATION, "mgda": 2e-3}
"""Of a change of a loss, for a weight of 1, as a share of the sum of the squared gradients."""
VECTOR = {name: objective for name, objective in OBJECTIVES.items() if objective.in_vector}


def weights_of(aggregator: Aggregator, rows: Sequence[Sequence[float]]) -> list[float]:
    gradients = [torch.tensor(row) for row in rows]
    return [float(weight) for weight in gradient_weights(aggregator, gradients)]


def test_weights_by_hand() -> None:
    """Gradients (1, 0) and (-.5, 1) have the inner product -.5.

    UPGrad adds .5 / 1.25 of the second to the first, and .5 / 1 of the first to the second.
    MGDA: the point of the segment that is nearest to 0 is at (1.75, 1.5) / 3.25, times 2.
    """
    conflict = [[1.0, 0.0], [-0.5, 1.0]]
    assert weights_of("upgrad", conflict) == pytest.approx([1.5, 1.4], abs=1e-3)
    assert weights_of("mgda", conflict) == pytest.approx([3.5 / 3.25, 3.0 / 3.25], abs=1e-3)


def test_without_conflict_upgrad_is_the_sum() -> None:
    """Exactly, for equal gradients and for those with an angle of at most 90 degrees."""
    assert weights_of("upgrad", [[2.0, 1.0]] * 3) == [1.0] * 3
    assert weights_of("upgrad", [[1.0, 0.0], [0.0, 5.0], [1.0, 1.0]]) == [1.0] * 3


@settings(max_examples=40)
@given(
    st.sampled_from(["upgrad", "mgda"]),
    st.lists(st.lists(st.floats(-3, 3, width=32), min_size=4, max_size=4), min_size=2, max_size=6),
)
def test_no_loss_rises(aggregator: Aggregator, rows: list[list[float]]) -> None:
    """Whatever the gradients are: opposed, equal, dependent or 0."""
    matrix = torch.tensor(rows, dtype=torch.float64)
    if not matrix.any():
        return
    weights = gradient_weights(aggregator, list(matrix))
    change = matrix @ (weights @ matrix) / (matrix**2).sum()
    assert (change + TOLERANCE[aggregator] * weights.clamp(min=1)).min() > -1e-9


def captured(job: PolicyJob, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What `fit` would get: the model, and a function that adds the gradients of the first step."""
    seen: dict[str, Any] = {}

    def record(model: Any, rows: Any, collate: Any, loss: Any, *_: Any, **__: Any) -> None:
        def backward() -> tuple[float, dict[str, float]]:
            size, micro = job.params.training.batch_size, job.params.training.micro
            total, metrics = 0.0, {}
            for start in range(0, size, micro):
                value, metrics = loss(model, collate(rows[start : start + micro]))
                value.backward()
                total += value.item()
            return total, metrics

        seen.update(model=model.train(), backward=backward)

    monkeypatch.setattr(preference, "fit", record)
    mah_dpo.run(job)
    return seen["model"], seen["backward"]


def gradients(model: Any) -> tuple[Tensor, Tensor]:
    """Flat gradients of the shared parameters and of the heads."""
    parts = model.shared_parameters(), model.head_parameters()
    shared, heads = (torch.cat([p.grad.flatten() for p in part]) for part in parts)
    return shared, heads


@pytest.mark.parametrize("aggregator", ["upgrad", "mgda"])
@pytest.mark.parametrize("micro", [8, 2])
def test_a_step_helps_every_objective(
    project: Path,
    make_job: MakeJob,
    monkeypatch: pytest.MonkeyPatch,
    aggregator: Aggregator,
    micro: int,
) -> None:
    """The plain step raises the loss of an objective, the aggregated step of none.

    The loss of the step and the gradients of the heads stay the same. The backbone gets the sum of
    the objectives' gradients by the logged weights.
    """
    training = {**TRAINING, "batch_size": 8, "micro_batch": micro}
    entry = {**MIXED, "training": training, "head_adapters": {"rank": 2}}
    rows: list[dict[str, Tensor]] = []
    model, backward = captured(make_job(**entry), monkeypatch)
    plain_loss, _ = backward()
    plain, plain_heads = gradients(model)
    take = ObjectiveGradients.take
    monkeypatch.setattr(
        ObjectiveGradients, "take", lambda self: rows.append(take(self)) or rows[-1]
    )
    model, backward = captured(make_job(**entry, conflict=aggregator), monkeypatch)
    loss, metrics = backward()
    shared, heads = gradients(model)
    (by_objective,) = rows
    assert loss == pytest.approx(plain_loss, abs=1e-6)
    torch.testing.assert_close(heads, plain_heads)
    torch.testing.assert_close(sum(by_objective.values()), plain, atol=1e-5, rtol=1e-4)
    expected = sum(metrics[f"gradient_weight.{name}"] * g for name, g in by_objective.items())
    torch.testing.assert_close(shared, expected, atol=1e-5, rtol=1e-4)
    scale = sum(float(g @ g) for g in by_objective.values())
    for name, g in by_objective.items():
        allowed = TOLERANCE[aggregator] * max(metrics[f"gradient_weight.{name}"], 1.0)
        assert float(shared @ g) / scale > -allowed
    assert min(float(plain @ g) for g in by_objective.values()) / scale < -0.01
    assert metrics["cosine.helpful.honest"] < 0


def test_measuring_changes_nothing(project: Path, make_job: MakeJob) -> None:
    """The weights are equal bit for bit; the curve has cosines in every second step."""
    curves, weights = [], []
    for extra in ({}, {"cosines_every": 2}):
        job = make_job(**MIXED, training={**TRAINING, "batch_size": 8, "micro_batch": 4}, **extra)
        mah_dpo.run(job)
        weights.append(load_file(job.folder / "model.safetensors"))
        curves.append(pd.read_csv(job.curve))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    measured = curves[1].filter(like="cosine.")
    assert measured.shape == (4, 6)
    assert measured.notna().all(axis=1).tolist() == [True, False, True, False]
    pd.testing.assert_frame_equal(curves[0], curves[1].drop(columns=measured.columns))


def test_a_repeated_step_measures_its_gradients_again(
    project: Path, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory for 2 of 4 pairs from the second step on: weights and cosines stay the same."""
    curves, weights = [], []
    plain = preference.make_loss
    for micro, memory in ((2, 2), (4, 2)):
        seen = list[int]()

        def scarce(*arguments: Any, memory: int = memory, seen: list[int] = seen) -> Any:
            loss = plain(*arguments)

            def limited(model: Any, batch: Any) -> Any:
                result, pairs = loss(model, batch), len(batch["weights"])
                seen.append(pairs)
                if pairs > memory and len(seen) > 3:
                    raise torch.OutOfMemoryError("planted")
                return result

            return limited

        monkeypatch.setattr(preference, "make_loss", scarce)
        training = {**TRAINING, "batch_size": 8, "micro_batch": micro}
        job = make_job(**MIXED, training=training, conflict="upgrad")
        mah_dpo.run(job)
        weights.append(load_file(job.folder / "model.safetensors"))
        curves.append(pd.read_csv(job.curve))
    assert seen[:7] == [4, 4, 4, 4, 2, 2, 2]
    for name, expected in weights[0].items():
        torch.testing.assert_close(weights[1][name], expected, atol=1e-5, rtol=1e-3)
    names = [name for name in curves[0] if "cosine." in name or name in ("loss", "grad_norm")]
    assert len(names) > 4
    pd.testing.assert_frame_equal(curves[0][names], curves[1][names], atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"conflict": "upgrad", "heads_only": True}, "`heads_only` freezes it"),
        ({"cosines_every": 2, "heads_only": True}, "`heads_only` freezes it"),
        ({"conflict": "upgrad", "cosines_every": 2}, "remove `cosines_every`"),
        ({"conflict": "mgda", "alpha": {"right": 1.0, "vivid": 2.0}}, "use `conflict: upgrad`"),
        ({"conflict": "pcgrad"}, r"policies\.x\.conflict"),
        ({"conflict": "upgrad", "method": "dpo", "pool": True}, r"conflict is an unknown key"),
    ],
)
def test_settings_that_contradict_each_other(
    make_job: MakeJob, entry: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParamsError, match=message):
        make_job(**{"method": "mah_dpo", **entry})


def test_a_conflict_needs_two_objectives_and_one_process(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(method="mah_dpo", conflict="upgrad", alpha={"right": 1.0})
    (problem,) = mah_dpo.METHOD.problems(job.params, VECTOR)
    assert "alpha: only ['right'] is trained" in problem
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ParamsError, match="this training has 2; start one process"):
        GradientConflict("upgrad", 1, 1)
