"""GRPO on the reward vector: advantages, logs, trained parameters and resuming."""

import random
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from concord.lm.load import load_causal
from concord.policies.job import PolicyJob
from concord.policies.methods import grpo, rloo
from concord.policies.rl.reward_function import RewardFunction
from concord.policies.rl.scorers import PROCESS_ANCHORS
from concord.rewards.vector.anchors import Anchors
from concord.stage.paths import REWARDS, SFT
from tests.policies.conftest import ONLINE, TRL_READS_AN_OLD_NAME, MakeJob

ENTRY = {
    **ONLINE,
    "method": "grpo",
    "weights": {"right": 1.0, "vivid": 3.0, "helpful": 1.0},
}


METHODS = {"grpo": grpo, "rloo": rloo}


def trained(job: PolicyJob) -> dict[str, torch.Tensor]:
    random.seed(9)  # a run must not depend on the state of the global generators
    torch.manual_seed(9)
    METHODS[job.params.method].run(job)
    return load_file(job.folder / "model.safetensors")


@TRL_READS_AN_OLD_NAME
@pytest.mark.parametrize(
    ("method", "aggregation", "loss"),
    [
        ("grpo", "sum_then_normalize", "dapo"),
        ("grpo", "normalize_then_sum", "dapo"),
        ("rloo", "leave_one_out", "luspo"),
    ],
)
def test_all_parameters_are_trained_and_rewards_are_logged(
    reward_models: Path,
    make_job: MakeJob,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    aggregation: str,
    loss: str,
) -> None:
    from concord.policies.rl import online_trainer

    configs, config = [], online_trainer.config
    monkeypatch.setattr(
        online_trainer, "config", lambda *given: configs.append(config(*given)) or configs[-1]
    )
    job = make_job(**{**ENTRY, "method": method, "aggregation": aggregation})
    weights = trained(job)
    before = dict(load_causal(SFT).named_parameters())
    assert all(
        not torch.equal(before[name], weight) for name, weight in weights.items() if name in before
    )
    assert [one.loss_type for one in configs] == [loss]
    curve = pd.read_csv(job.curve)
    assert curve["step"].tolist() == [1, 2, 3]
    assert (
        curve[["kl", "raw.helpful", "anchored.vivid", "weighted.vivid", "raw.right"]]
        .notna()
        .all(axis=None)
    )
    assert type(load_causal(job.folder)).__name__ == "LlamaForCausalLM"


@TRL_READS_AN_OLD_NAME
def test_a_killed_training_resumes_bitwise(
    reward_models: Path, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the third step, after two checkpoints, with two micro-batches per step.

    The weights move with the rewards: a constraint that is never met, so the weight of `right`
    grows in every step.
    """
    moving = {"rule": "lagrangian", "at_least": {"right": 9.0}, "rate": 0.1}
    extra = {"micro_prompts": 1, "lora": {"rank": 2}, "moving_weights": moving}
    job = make_job(**{**ENTRY, **extra})
    expected, calls, score = trained(job), [], RewardFunction.__call__
    curve = job.curve.read_text()
    weights = pd.read_csv(job.curve)["weight.right"].tolist()
    # lambda grows by .1 * (9 - 0): (.25 + .9 n) / (1 + .9 n)
    assert weights == pytest.approx([0.25, 1.15 / 1.9, 2.05 / 2.8], abs=1e-5)

    def fatal(self: RewardFunction, *arguments: Any, **kwargs: Any) -> list[float]:
        calls.append(1)
        if len(calls) == 5:
            raise RuntimeError("killed")
        return score(self, *arguments, **kwargs)

    monkeypatch.setattr(RewardFunction, "__call__", fatal)
    with pytest.raises(RuntimeError, match="killed"):
        grpo.run(job)
    calls.clear()
    resumed = trained(job)
    assert len(calls) == 2
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
    assert not any("lora" in name for name in resumed)
    assert job.curve.read_text() == curve
    assert not list(Path("work").rglob("checkpoint-*"))


@TRL_READS_AN_OLD_NAME
def test_process_rewards_replace_the_outcome(process_model: Path, make_job: MakeJob) -> None:
    """Trained without the reward model of `vivid`, which is not there."""
    shutil.rmtree(REWARDS / "math")
    forms = {"right": "mean", "vivid": "difference"}
    job = make_job(**ENTRY, process_rewards=forms, step_advantages=True)
    weights = trained(job)
    before = dict(load_causal(SFT).named_parameters())
    assert all(
        not torch.equal(before[name], weight) for name, weight in weights.items() if name in before
    )
    curve = pd.read_csv(job.curve)
    assert curve["raw.vivid"].between(0, 1, inclusive="neither").all()
    anchors = Anchors.load(job.folder / PROCESS_ANCHORS).anchors
    assert set(anchors) == {"right", "vivid"}
    expected = (curve["raw.vivid"] - anchors["vivid"].mean) / anchors["vivid"].std
    assert curve["anchored.vivid"].tolist() == pytest.approx(expected.tolist(), abs=1e-3)


@TRL_READS_AN_OLD_NAME
def test_every_micro_step_draws_different_samples(
    make_job: MakeJob, tiny_model: Path, tiny_tokenizer: Any
) -> None:
    """TRL's counter restarts at 0 after a resume; the draws depend on the global step."""
    from concord.policies.rl.online_sampler import Sampler

    rollout = Sampler(make_job(**{**ENTRY, "micro_prompts": 1}), tiny_tokenizer)
    accelerator = SimpleNamespace(
        unwrap_model=lambda model, **_: model, state=SimpleNamespace(deepspeed_plugin=None)
    )

    def drawn(step: int, counter: int) -> Any:
        state = SimpleNamespace(global_step=step)
        trainer = SimpleNamespace(
            model_wrapped=model, accelerator=accelerator, state=state, _step=counter, mixes=None
        )
        return rollout([[{"role": "user", "content": "q"}]] * 2, trainer)["completion_ids"]

    model = load_causal(tiny_model)
    draws = [drawn(0, 0), drawn(0, 1), drawn(1, 2), drawn(1, 3)]
    assert all(draws[one] != draws[other] for one in range(4) for other in range(one))
    assert [drawn(1, 0), drawn(1, 1)] == draws[2:]
