"""MODPO: the margins of its pairs, its limits, and the divisor that stays away from 0."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from concord.policies import preference
from concord.policies.job import ROLLOUTS
from concord.policies.losses import PairLogprobs, dpo
from concord.policies.methods import dpo as dpo_method
from concord.policies.methods import modpo
from concord.policies.training_pairs import Pair
from concord.rewards.vector.anchors import Anchors
from concord.stage import outputs
from concord.stage.errors import ParamsError
from concord.stage.paths import ANCHORS
from tests.policies.conftest import MakeJob

WEIGHTS = {"right": 1.0, "vivid": 3.0, "helpful": 0.6, "honest": 0.4}


def pairs_of(job: object, weights: dict[str, float]) -> list[Pair]:
    rollouts = outputs.read_table(ROLLOUTS)
    domain = "math" if "right" in weights else "values"
    rows = rollouts[rollouts["domain"] == domain]
    return modpo.pairs_with_margins(rows, weights, Anchors.load(ANCHORS), job.params)  # type: ignore[attr-defined]


def test_the_margin_is_what_the_other_objectives_lose(project: Path, make_job: MakeJob) -> None:
    """helpful is minus honest; `vivid` is in units of ten letters."""
    job = make_job(method="modpo", weights=WEIGHTS, beta=0.5)
    pairs = pairs_of(job, {"helpful": 0.6, "honest": 0.4})
    assert pairs
    for pair in pairs:
        lost = pair.rejected.count("a") - pair.chosen.count("a")
        assert lost > 0
        assert pair.margin == pytest.approx(0.4 * -lost / 0.5)
        assert pair.sharpness == pytest.approx(1 / 0.6)


def test_the_loss_is_equation_8() -> None:
    delta, margin, weight, beta = 3.0, -1.6, 0.6, 0.5
    zero, one = torch.zeros(1), torch.ones(1)
    required = zero + margin / beta
    pairs = PairLogprobs(torch.tensor([delta]), zero, required, zero, one, one)
    expected = -np.log(1 / (1 + np.exp(-(beta * delta - margin) / weight)))
    assert dpo(pairs, beta * torch.tensor([1 / weight])).item() == pytest.approx(expected)


def test_one_objective_alone_is_dpo(project: Path, make_job: MakeJob) -> None:
    """The same bits as DPO on the pairs of that objective."""
    alone = {"right": 0.0, "vivid": 1.0, "helpful": 1.0, "honest": 0.0}
    one = make_job("one", method="modpo", weights=alone)
    other = make_job("other", method="dpo", weights=alone)
    modpo.run(one)
    dpo_method.run(other)
    weights, expected = (load_file(job.folder / "model.safetensors") for job in (one, other))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_margins_change_what_is_learned(project: Path, make_job: MakeJob) -> None:
    trained = []
    for number, honest in enumerate((0.0, 0.59)):
        weights = {**WEIGHTS, "helpful": 0.6, "honest": honest}
        job = make_job(str(number), method="modpo", weights=weights)
        modpo.run(job)
        trained.append(load_file(job.folder / "model.safetensors")["lm_head.weight"])
    assert not torch.equal(*trained)


def test_the_divisor_is_bounded(project: Path, make_job: MakeJob) -> None:
    """With seven objectives of equal weight each would be .14; a weight of .01 divides by .1."""
    job = make_job(method="modpo", weights=WEIGHTS)
    thin = pairs_of(job, {"right": 0.01, "vivid": 0.01})
    assert {pair.sharpness for pair in thin} == {10.0}
    job = make_job(method="modpo", weights=WEIGHTS, smallest_divisor=0.5)
    assert {pair.sharpness for pair in pairs_of(job, {"right": 0.01, "vivid": 0.01})} == {2.0}


@pytest.mark.parametrize("weight", [1.0, 0.1, 0.01, 0.0])
def test_the_gradient_of_a_small_weight_is_bounded(
    project: Path, make_job: MakeJob, weight: float
) -> None:
    """Dividing by the weight would make the gradient a hundred times larger from 1 to .01.

    At delta 0 and without a margin the gradient of a pair is beta / (2 divisor), and the divisor is
    at least .1.
    """
    job = make_job(method="modpo", weights=WEIGHTS, beta=0.5)
    pair = pairs_of(job, {"right": weight, "vivid": 0.0})[0]
    chosen, zero = torch.zeros(1, requires_grad=True), torch.zeros(1)
    logprobs = PairLogprobs(chosen, zero, zero, zero, torch.ones(1), torch.ones(1))
    dpo(logprobs, job.params.beta * torch.tensor([pair.sharpness])).sum().backward()
    assert -chosen.grad.item() == pytest.approx(0.5 / 2 / max(weight, 0.1))


def test_margin_and_sharpness_reach_the_loss(
    project: Path, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(preference, "fit", lambda model, rows, *_, **__: seen.extend(rows))
    modpo.run(make_job(method="modpo", weights=WEIGHTS))
    assert {round(row["sharpness"], 6) for row in seen} == {round(1 / 0.6, 6), round(4 / 3, 6)}
    assert any(row["margin"] != 0 for row in seen)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"pairs": "annotations"}, "annotated pairs have none"),
        ({"loss": "hinge"}, "no 'hinge' form"),
        ({"alpha": {"right": 1.0}}, "use `weights`"),
        ({"smallest_divisor": 0.0}, "greater than 0"),
    ],
)
def test_other_settings_are_refused(
    make_job: MakeJob, entry: dict[str, object], message: str
) -> None:
    with pytest.raises(ParamsError, match=message):
        make_job(method="modpo", weights=WEIGHTS, **entry)
