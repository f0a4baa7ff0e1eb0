"""GRPO with heads: equal to GRPO with one head, trained as mixes, resumed bitwise."""

import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from concord.lm.load import load_causal, load_tokenizer
from concord.lm.sample import answer_logprobs, sample_ids
from concord.policies.job import ROLLOUTS, PolicyJob
from concord.policies.methods import grpo, mah_grpo
from concord.policies.model import MultiHeadCausalLM
from concord.policies.rl.reward_function import RewardFunction
from concord.stage import outputs
from concord.stage.errors import ParamsError
from concord.stage.params import section
from concord.stage.paths import SFT
from tests.policies.conftest import OBJECTIVES, ONLINE, TRL_READS_AN_OLD_NAME, MakeJob, rollouts

ENTRY = {**ONLINE, "method": "mah_grpo"}
pytestmark = TRL_READS_AN_OLD_NAME


def trained(job: PolicyJob) -> dict[str, torch.Tensor]:
    random.seed(9)  # a run must not depend on the state of the global generators
    torch.manual_seed(9)
    mah_grpo.run(job)
    return load_file(job.folder / "model.safetensors")


@pytest.fixture
def untied(reward_models: Path) -> Path:
    """An SFT model whose output matrix is not its input embedding; only math prompts."""
    sft = load_causal(SFT)
    tokenizer = load_tokenizer(SFT)
    matrix = sft.get_output_embeddings().weight.detach().clone()
    sft.config.tie_word_embeddings = False
    sft.lm_head.weight = torch.nn.Parameter(matrix)
    SFT.unlink()
    sft.save_pretrained(SFT)
    tokenizer.save_pretrained(SFT)
    frame = rollouts()
    outputs.write_table(ROLLOUTS, frame[frame["domain"] == "math"])
    return reward_models


def test_one_head_is_grpo(untied: Path, make_job: MakeJob) -> None:
    """The same samples, and after three steps of 1e-3 the same parameters up to rounding."""
    only = {"vivid": OBJECTIVES["vivid"]}
    plain = make_job(**{**ONLINE, "method": "grpo", "weights": {"vivid": 1.0}}, objectives=only)
    grpo.run(plain)
    expected = load_causal(plain.folder).state_dict()
    trained(job := make_job(**ENTRY, objectives=only))
    merged = load_causal(job.folder).merge({"vivid": 1.0}).state_dict()
    before = load_causal(SFT).state_dict()
    for name, weight in expected.items():
        assert (weight - before[name]).abs().max() > 5e-4
        torch.testing.assert_close(merged[name], weight, atol=2e-5, rtol=0, msg=name)
    columns = ["completions/mean_length", "raw.vivid", "reward_std"]
    curves = [pd.read_csv(one.curve)[columns] for one in (plain, job)]
    pd.testing.assert_frame_equal(*curves, atol=1e-4)


def test_only_the_heads_of_the_drawn_weights_learn(reward_models: Path, make_job: MakeJob) -> None:
    """The given weights leave out `honest` and `right`. The first KL is 0: the reference is SFT."""
    weights = {"helpful": 1.0, "vivid": 1.0}
    draws = {"corners": 0.0, "given": 1.0}
    job = make_job(**ENTRY, weights=weights, draws=draws, cosines_every=2)
    trained(job)
    policy = load_causal(job.folder)
    sft = load_causal(SFT).get_output_embeddings().weight
    unchanged = {
        name
        for name, matrix in zip(policy.head_names, policy.heads, strict=True)
        if torch.equal(matrix, sft)
    }
    assert unchanged == {"honest", "right"}
    assert torch.equal(policy.shared, sft)
    curve = pd.read_csv(job.curve)
    assert curve["kl"][0] == pytest.approx(0.0, abs=1e-7)
    assert curve["kl"][2] > 0
    assert curve["weight.helpful"].tolist() == [1.0] * 3
    assert curve["cosine.helpful.honest"].notna().tolist() == [True, False, True]


def test_samples_rewards_and_loss_have_the_same_weights(
    reward_models: Path, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each prompt has one mix of its domain's heads, for all of its samples and in every place."""
    from concord.policies.rl.online_sampler import Sampler
    from concord.policies.rl.online_trainer import OnlineTrainer

    seen: dict[str, list[Any]] = {"samples": [], "rewards": [], "loss": []}
    sample, score, loss = Sampler._draw, RewardFunction.__call__, OnlineTrainer._compute_loss

    def draw(self: Any, model: Any, ids: Any, seed: int, mixes: torch.Tensor) -> Any:
        seen["samples"].append(mixes.tolist())
        return sample(self, model, ids, seed, mixes)

    def reward(self: Any, *arguments: Any, **kwargs: Any) -> Any:
        seen["rewards"].append(kwargs["head_weights"])
        assert kwargs["domain"] == ["math"] * 3 + ["values"] * 3
        return score(self, *arguments, **kwargs)

    def compute(self: Any, model: Any, inputs: Any) -> Any:
        seen["loss"].append((inputs["head_weights"], inputs["advantages"]))
        return loss(self, model, inputs)

    monkeypatch.setattr(Sampler, "_draw", draw)
    monkeypatch.setattr(RewardFunction, "__call__", reward)
    monkeypatch.setattr(OnlineTrainer, "_compute_loss", compute)
    trained(make_job(**ENTRY))
    assert len(seen["loss"]) == 3
    for samples, rewards, (mixes, _) in zip(*seen.values(), strict=True):
        torch.testing.assert_close(torch.tensor(samples), torch.tensor(rewards).float())
        assert sorted(samples) == sorted(mixes.tolist())  # TRL shuffles the rows
        assert all(row == samples[0] for row in samples[:3])
        assert all(row == samples[3] for row in samples[3:])
        assert torch.tensor(samples).sum(1).tolist() == pytest.approx([1.0] * 6)
        assert {0.0} == {*samples[0][:2], *samples[3][2:]}  # helpful, honest | right, vivid


def different_heads(names: list[str], adapters: int | None = None) -> MultiHeadCausalLM:
    """A model whose heads differ."""
    policy = MultiHeadCausalLM.from_sft(SFT, names, adapter_rank=adapters)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.head_parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return policy


def test_each_prompt_is_sampled_from_its_mix(reward_models: Path, make_job: MakeJob) -> None:
    """The samples of rows with alternating mixes are those of the two merged models."""
    from concord.policies.rl.online_sampler import Sampler

    job = make_job(**ENTRY)
    policy, tokenizer = different_heads(job.vector), load_tokenizer(SFT)
    ids = [[10 + row, 11, 12] for row in range(4)]
    mixes = torch.tensor([[0.25, 0.75, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]] * 2)
    samples = Sampler(job, tokenizer)._draw(policy, ids, 5, mixes)
    for row, mix in enumerate(mixes.tolist()):
        stock = policy.merge(dict(zip(job.vector, mix, strict=True)))
        assert [samples[row]] == sample_ids(stock, tokenizer, [ids[row]], max_new_tokens=6, seed=5)
    assert len({tuple(sample) for sample in samples}) == 4


@pytest.mark.parametrize("adapters", [None, 2])
def test_log_probabilities_are_those_of_the_merged_mix(
    reward_models: Path, make_job: MakeJob, tmp_path: Path, adapters: int | None
) -> None:
    """Sums over the response equal those of a stock checkpoint, row by row."""
    from concord.policies.rl.online_trainer import OnlineTrainer

    job = make_job(**ENTRY)
    policy = different_heads(job.vector, adapters)
    mixes = torch.tensor([[0.25, 0.75, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    ids = torch.randint(6, 60, (2, 9))
    mask = torch.ones_like(ids)
    trainer = OnlineTrainer.__new__(OnlineTrainer)
    trainer.mixes, trainer.ref_model, trainer.temperature = mixes, None, 1.0
    logprobs, entropies, _ = trainer._get_per_token_logps_and_entropies(policy, ids, mask, 4)
    assert entropies is not None
    for row, mix in enumerate(mixes.tolist()):
        stock = policy.merge(dict(zip(job.vector, mix, strict=True)))
        expected = answer_logprobs(stock, ids[[row]], mask[[row]], torch.tensor([4]))
        torch.testing.assert_close(logprobs[row].sum(), expected[0], atol=1e-4, rtol=1e-5)
        logits = stock(ids[[row]]).logits[0, -5:-1]
        expected = torch.distributions.Categorical(logits=logits).entropy()
        torch.testing.assert_close(entropies[row], expected, atol=1e-4, rtol=1e-5)


def test_a_killed_training_resumes_bitwise(
    reward_models: Path, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the third step, with adapters, learning rates of their own and micro-batches."""
    entry = {**ENTRY, "micro_prompts": 1, "head_rank": 2, "head_learning_rate": 1e-2}
    job = make_job(**entry, head_adapters={"rank": 2, "learning_rate": 1e-3}, heads_only=True)
    expected, calls, score = trained(job), [], RewardFunction.__call__
    before = MultiHeadCausalLM.from_sft(SFT, job.vector, 2, 2).state_dict()
    moved = {name for name in expected if not torch.equal(before[name], expected[name])}
    assert {"up", "down"} < moved
    assert all(name.endswith(("up", "down")) for name in moved)
    # Adam moves a parameter by its rate in a step: 1 + 2/3 + 1/3 rates with the linear decay.
    adapters = [weight for name, weight in expected.items() if name.endswith("_proj.up")]
    assert 0.01 < expected["up"].abs().max() <= 0.0201
    assert 0.001 < max(weight.abs().max() for weight in adapters) <= 0.00201

    def fatal(self: RewardFunction, *arguments: Any, **kwargs: Any) -> list[float]:
        calls.append(1)
        if len(calls) == 5:
            raise RuntimeError("killed")
        return score(self, *arguments, **kwargs)

    monkeypatch.setattr(RewardFunction, "__call__", fatal)
    with pytest.raises(RuntimeError, match="killed"):
        mah_grpo.run(job)
    calls.clear()
    resumed = trained(job)
    assert len(calls) == 2
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"weights": {"helpful": 1.0}}, "give both or neither"),
        ({"draws": {"given": 0.5}}, "give both or neither"),
        ({"draws": {"given": 0.5, "corners": 0.6}}, "their sum must be at most 1"),
        ({"lora": {"rank": 2}, "heads_only": True}, "give only one of them"),
        ({"cosines_every": 2, "heads_only": True}, "remove one of them"),
    ],
)
def test_settings_that_contradict_each_other(extra: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        section(mah_grpo.MahGrpoParams, {**ENTRY, **extra}, "policies.mah_grpo")
