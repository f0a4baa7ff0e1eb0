"""Soups and decoding-time mixing: what specialists learn; adapters are merged before mixing."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from concord.lm import lora
from concord.policies import pair_sources, preference, specialist_training, steerable
from concord.policies.job import PolicyJob
from concord.policies.methods import mod, soup
from concord.policies.specialists import Specialists
from concord.stage.errors import ParamsError
from tests.policies.conftest import OBJECTIVES, TRAINING, MakeJob

CORNER = {"honest": 0.0, "vivid": 1.0}
TWO = {name: OBJECTIVES[name] for name in CORNER}
SHORT = {**TRAINING, "steps": 2}


def trained(job: PolicyJob) -> Specialists:
    {"soup": soup, "mod": mod}[job.params.method].run(job)
    policy: Specialists = steerable.load(job.folder)
    return policy


@pytest.mark.parametrize(
    "entry",
    [{}, {"lora": {"rank": 2, "alpha": 3}}, {"head_rank": 2}, {"head_adapters": {"rank": 2}}],
    ids=["full", "lora", "head_rank", "head_adapters"],
)
def test_a_corner_is_dpo_on_the_pairs_of_its_objective(
    project: Any, make_job: MakeJob, entry: dict[str, Any]
) -> None:
    """Bit for bit, also with other specialists beside it."""
    job = make_job(method="soup", objectives=TWO, training=SHORT, **entry)
    corner = trained(job).merge(CORNER).state_dict()
    pairs = {"vivid": pair_sources.pairs_by_objective(job)["vivid"]}
    expected = preference.train(job, pairs, {"vivid": 0}, ["policy"], __file__)
    for name, value in expected.merge({"policy": 1.0}).state_dict().items():
        assert torch.equal(corner[name], value)


def test_a_killed_run_resumes_after_the_last_specialist(
    project: Path, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the second specialist: the first is not trained again, with the same bits."""
    job = make_job(method="soup", objectives=TWO, training=SHORT)
    undisturbed = trained(job).state_dict()
    curve = job.curve.read_text()
    shutil.rmtree(job.folder)
    train, calls = preference.train, list[str]()

    def killed_at_the_second(*arguments: Any) -> Any:
        calls.append(arguments[3][0])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(*arguments)

    monkeypatch.setattr(specialist_training, "train", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        trained(job)
    resumed = trained(job).state_dict()
    assert calls == ["honest", "vivid", "vivid"]
    assert all(torch.equal(resumed[name], value) for name, value in undisturbed.items())
    assert job.curve.read_text() == curve
    assert not [path for path in Path("work").rglob("*") if path.is_file()]


def test_adapters_are_merged_before_mixing(
    project: Any, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A corner gives the hidden states that its specialist had with its adapters in place."""
    ids, states, merge = torch.arange(10, 40)[None], [], lora.merge

    @torch.no_grad()
    def recording(backbone: Any) -> None:
        states.append(backbone(input_ids=ids).last_hidden_state)
        merge(backbone)

    monkeypatch.setattr(preference, "merge", recording)
    entry = {"lora": {"rank": 2, "alpha": 3}, "training": {**SHORT, "learning_rate": 3e-2}}
    policy = trained(make_job(method="soup", objectives=TWO, **entry))
    with torch.no_grad():
        for name, expected in zip(policy.head_names, states, strict=True):
            corner = policy.merge({**dict.fromkeys(CORNER, 0.0), name: 1.0})
            torch.testing.assert_close(corner.base_model(input_ids=ids)[0], expected)
    assert float((states[0] - states[1]).abs().max()) > 1e-2


@pytest.mark.parametrize("variant", ["use_rslora", "use_dora", "bias"])
def test_variants_of_lora_that_cannot_be_merged_are_refused(
    make_job: MakeJob, variant: str
) -> None:
    with pytest.raises(ParamsError, match=f"lora.{variant} is an unknown key"):
        make_job(method="soup", lora={"rank": 2, variant: True})


def test_soup_and_mod_have_the_same_specialists(project: Any, make_job: MakeJob) -> None:
    one, other = (
        trained(make_job(method=method, objectives=TWO, training=SHORT))
        for method in ("soup", "mod")
    )
    assert (one.config.mixing, other.config.mixing) == ("parameters", "probabilities")
    assert one.head_names == other.head_names == sorted(CORNER)
    states = one.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_the_curve_holds_all_specialists(project: Any, make_job: MakeJob) -> None:
    job = make_job(method="soup", objectives=TWO, training=SHORT)
    soup.run(job)
    curve = pd.read_csv(job.curve)
    assert curve["step"].tolist() == [1, 2, 3, 4]
    assert curve["loss"].notna().all()
    assert curve["accuracy.vivid"].notna().tolist() == [False, False, True, True]


@pytest.mark.parametrize("method", ["soup", "mod"])
def test_alpha_is_refused(make_job: MakeJob, method: str) -> None:
    with pytest.raises(ParamsError, match="each specialist is a model of its own; remove `alpha`"):
        make_job(method=method, alpha={"right": 1.0})
