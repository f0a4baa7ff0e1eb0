"""PPO on the reward vector, end to end: samples, logs, trained parameters and resuming."""

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from concord.lm.load import load_causal, load_tokenizer
from concord.policies.job import PolicyJob
from concord.policies.methods import ppo
from concord.policies.ppo.collect import Collector
from concord.policies.ppo.critic import Critic
from concord.policies.ppo.experience import streams_of
from concord.policies.process_vector import ProcessVector
from concord.policies.rl.online import prompts_of
from concord.policies.rl.scorers import PROCESS_ANCHORS
from concord.rewards.vector.anchors import Anchor, Anchors
from concord.stage.errors import ParamsError
from concord.stage.params import section
from concord.stage.paths import REWARDS, SFT
from tests.policies.conftest import OBJECTIVES, MakeJob

ENTRY = {
    "method": "ppo",
    "weights": {"right": 1.0, "vivid": 3.0, "helpful": 1.0},
    "learning_rate": 1e-3,
    "critic_learning_rate": 1e-3,
    "steps": 3,
    "prompts_per_step": 2,
    "generations": 4,
    "max_new_tokens": 6,
    "checkpoint_every": 1,
}


@pytest.fixture
def frequent_ends(reward_models: Path, tiny_model: Path) -> Path:
    """Half of the tokens end an answer, so that an untrained model finishes most of them."""
    model = load_causal(tiny_model)
    model.generation_config.eos_token_id = list(range(0, len(load_tokenizer(tiny_model)), 2))
    SFT.unlink()
    model.save_pretrained(SFT)
    load_tokenizer(tiny_model).save_pretrained(SFT)
    return reward_models


def trained(job: PolicyJob) -> dict[str, torch.Tensor]:
    random.seed(9)  # a run must not depend on the state of the global generators
    torch.manual_seed(9)
    ppo.run(job)
    return load_file(job.folder / "model.safetensors")


def test_all_parameters_are_trained_and_rewards_are_logged(
    frequent_ends: Path, make_job: MakeJob
) -> None:
    """The policy is a stock checkpoint without the critic."""
    job = make_job(**ENTRY)
    weights, before = trained(job), load_file(SFT / "model.safetensors")
    assert weights.keys() == before.keys()
    assert all(not torch.equal(before[name], weight) for name, weight in weights.items())
    assert type(load_causal(job.folder)).__name__ == "LlamaForCausalLM"
    curve = pd.read_csv(job.curve)
    assert curve["step"].tolist() == [1, 2, 3]
    columns = ["loss", "kl", "entropy", "clip_share", "unfinished", "length", "value_loss.kl"]
    kinds = ("raw", "anchored", "weighted", "value_loss", "explained_variance")
    columns += [f"{kind}.{name}" for kind in kinds for name in ("helpful", "vivid")]
    assert curve[columns].notna().all(axis=None)
    assert curve["kl"][0] == 0.0
    assert curve["kl"][2] > 0.0
    assert not curve["value_loss.honest"].any()  # it has no weight
    assert curve["explained_variance.honest"].isna().all()


def test_a_killed_training_resumes_bitwise(
    frequent_ends: Path, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the third step, after two checkpoints: only the third is repeated."""
    job = make_job(**{**ENTRY, "lora": {"rank": 2}})
    expected, steps, collect = trained(job), [], Collector.__call__
    curve = job.curve.read_text()

    def fatal(self: Collector, step: int) -> Any:
        steps.append(step)
        if len(steps) == 3:
            raise RuntimeError("killed")
        return collect(self, step)

    monkeypatch.setattr(Collector, "__call__", fatal)
    with pytest.raises(RuntimeError, match="killed"):
        ppo.run(job)
    resumed = trained(job)
    assert steps == [0, 1, 2, 2]
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
    assert not any("lora" in name for name in resumed)
    assert job.curve.read_text() == curve
    assert not list(Path("work").rglob("checkpoint-*"))


class FakeVector:
    """`helpful` and `honest` score values, `right` and `vivid` math, by the prompt's number."""

    names = ("helpful", "honest", "right", "vivid")

    def score(self, messages: Any, responses: Any, domains: Any, references: Any) -> np.ndarray:
        numbers = [float(turns[0]["content"].split()[1]) for turns in messages]
        shown = {"values": [1, 1, np.nan, np.nan], "math": [np.nan, np.nan, 1, 2]}
        return np.array(
            [np.array(shown[domain]) * n for domain, n in zip(domains, numbers, strict=True)]
        )


def test_answers_of_a_step(project: Path, make_job: MakeJob) -> None:
    """Samples depend on the seed and the step; rewards and weights are those of the domain."""
    job, policy, tokenizer = make_job(**ENTRY), load_causal(SFT), load_tokenizer(SFT)
    prompts = prompts_of(job)
    anchors = Anchors({name: Anchor(1.0, 2.0, 1, 9) for name in OBJECTIVES})
    collect = Collector(job, policy, tokenizer, FakeVector(), anchors, prompts)
    answers = collect(1)
    assert len(answers.responses) == 8
    assert len({tuple(response) for response in answers.responses}) == 8
    assert answers.prompts[0] == answers.prompts[3] != answers.prompts[4]
    assert [prompts[step * 2]["domain"] for step in range(3)] == ["math"] * 3
    number = float(prompts[2]["prompt"][0]["content"].split()[1])
    expected = [np.nan, np.nan, (number - 1) / 2, (2 * number - 1) / 2]
    np.testing.assert_allclose(answers.rewards[0], expected)
    assert answers.weights[[0, 4]].tolist() == [[0.0, 0.0, 0.25, 0.75], [1.0, 0.0, 0.0, 0.0]]
    assert answers.metrics["raw.vivid"] == 2 * number
    assert answers.metrics["weighted.vivid"] == pytest.approx(0.75 * (2 * number - 1) / 2)
    torch.manual_seed(5)
    assert collect(1).responses == answers.responses != collect(0).responses


class HalfVector(ProcessVector):
    """`right` has the steps `a` and `b`, which score 0.5 and 0.9; the others are 2."""

    def __init__(self) -> None:
        self.names, self.forms = ["helpful", "honest", "right", "vivid"], {"right": "difference"}

    def score(self, messages: Any, responses: Any, domains: Any, references: Any) -> np.ndarray:
        self.steps = [[text[:1], text[1:]] for text in responses]
        scores = [np.array([0.5, 0.9]) if domain == "math" else None for domain in domains]
        self.step_scores = {"right": scores}
        shown = {"values": [2, 2, np.nan, np.nan], "math": [np.nan, np.nan, 0.9, 2]}
        return np.array([shown[domain] for domain in domains])


def test_process_rewards_are_given_at_the_ends_of_steps(
    project: Path, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anchored by (raw - .7) / .1: -2 after the first letter, 4 at the end, together 2."""
    job, tokenizer = make_job(**ENTRY), load_tokenizer(SFT)
    ids = [tokenizer(text, add_special_tokens=False).input_ids for text in ("xy", "xyz")]
    drawn = [ids[row % 2] for row in range(8)]
    monkeypatch.setattr("concord.policies.ppo.collect.sample_ids", lambda *_, **__: drawn)
    anchors = Anchors({name: Anchor(0.7, 0.1, 1, 9) for name in OBJECTIVES})
    prompts = prompts_of(job)
    answers = Collector(job, load_causal(SFT), tokenizer, HalfVector(), anchors, prompts)(0)
    streams = streams_of(answers, torch.zeros(8, 3), beta=0.0)
    math = [row for row in range(8) if prompts[row // 4]["domain"] == "math"]
    assert len(math) == 4
    short, long = streams.rewards[math[0], :, 2], streams.rewards[math[1], :, 2]
    torch.testing.assert_close(short, torch.tensor([0.0, -2.0, 4.0]))
    torch.testing.assert_close(long, torch.tensor([-2.0, 0.0, 4.0]))
    np.testing.assert_allclose(streams.rewards[..., 2].sum(1)[math], answers.rewards[math, 2])
    assert streams.rewards[math[0], :, 3].tolist() == pytest.approx([0.0, 0.0, 13.0])
    assert not streams.trained[[row for row in range(8) if row not in math], 2].any()


def test_process_rewards_replace_the_outcome(
    frequent_ends: Path, process_model: Path, make_job: MakeJob
) -> None:
    """Trained without the reward model of `vivid`, which is not there."""
    shutil.rmtree(REWARDS / "math")
    job = make_job(**ENTRY, process_rewards={"vivid": "mean"})
    trained(job)
    curve = pd.read_csv(job.curve)
    assert curve["raw.vivid"].between(0, 1, inclusive="neither").all()
    assert set(Anchors.load(job.folder / PROCESS_ANCHORS).anchors) == {"vivid"}


def test_values_do_not_depend_on_padding(tiny_model: Path) -> None:
    """The heads start at 0. Values are read at the state before each token."""
    critic = Critic(load_causal(tiny_model).base_model, 2)
    ids = torch.tensor([[5, 6, 7, 8]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    positions = {"position_ids": torch.arange(4)[None]}
    assert not critic({**inputs, **positions}, 2).any()
    torch.nn.init.normal_(critic.heads.weight, generator=torch.Generator().manual_seed(0))
    values = critic({**inputs, **positions}, 2)
    padded = {
        "input_ids": torch.tensor([[0, 0, 5, 6, 7, 8]]),
        "attention_mask": torch.tensor([[0, 0, 1, 1, 1, 1]]),
        "position_ids": torch.tensor([[0, 0, 0, 1, 2, 3]]),
    }
    torch.testing.assert_close(critic(padded, 2), values)
    changed = {**inputs, **positions, "input_ids": torch.tensor([[5, 6, 7, 9]])}
    torch.testing.assert_close(critic(changed, 2), values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"minibatches": 9}, "`minibatches` is 9, but a step has only 8 answers"),
        ({"lora": {"dropout": 0.1}}, r"`lora\.dropout` is 0\.1, but PPO compares"),
        ({"clip": 1.0}, r"policies\.x\.clip"),
        ({"gae_lambda": 1.1}, r"policies\.x\.gae_lambda"),
        ({"gamma": 0.0}, r"policies\.x\.gamma"),
        ({"epochs": 0}, r"policies\.x\.epochs"),
        ({"temperature": 0.7}, r"policies\.x\.temperature is an unknown key"),
    ],
)
def test_bad_parameters_are_rejected(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        section(ppo.PpoParams, {**ENTRY, **change}, "policies.x")
