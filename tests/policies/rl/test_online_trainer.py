"""The trainer: which samples and gradients the loss is made of."""

from pathlib import Path
from typing import Any

import pytest
import torch

from concord.lm.load import load_causal, load_tokenizer
from concord.lm.lora import Lora, attach
from concord.policies.job import ROLLOUTS, PolicyJob
from concord.policies.rl.step_prompts import prompts_in_order
from concord.stage import outputs
from concord.stage.paths import SFT
from tests.policies.conftest import ONLINE, TRL_READS_AN_OLD_NAME, MakeJob
from tests.policies.rl.letters import SteppedVector, reward_function

ENTRY = {
    **ONLINE,
    "method": "grpo",
    "weights": {"right": 1.0, "vivid": 3.0, "helpful": 1.0},
}
pytestmark = TRL_READS_AN_OLD_NAME


def trainer_of(job: PolicyJob, texts: list[str], **extra: Any) -> Any:
    """A trainer whose samples are `texts`; those that end in "." have an end of sequence."""
    from concord.policies.rl.online_trainer import OnlineTrainer

    prompts = prompts_in_order(outputs.read_table(ROLLOUTS), 2, 3, seed=0)
    tokenizer = load_tokenizer(SFT)
    trainer = OnlineTrainer(
        job, load_causal(SFT), tokenizer, reward_function(job), prompts, Path("work"), **extra
    )

    def draw(*_: Any) -> list[list[int]]:
        rows = [tokenizer(text.rstrip("."), add_special_tokens=False).input_ids for text in texts]
        ends = [[tokenizer.eos_token_id] if text.endswith(".") else [] for text in texts]
        return [row + end for row, end in zip(rows, ends, strict=True)]

    trainer.rollout_func._draw = draw
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1  # set by the training loop
    return trainer


def batch_of(trainer: Any) -> dict[str, Any]:
    """The batch of the first step, in the order of the samples."""
    rows = [row for row in trainer.train_dataset.select(range(2)) for _ in range(3)]
    batch: dict[str, Any] = trainer._generate_and_score_completions(rows)
    return batch


def logprobs_of(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """Log-probability of each sampled token `(rows, tokens)`, from one plain forward pass."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    start = batch["prompt_ids"].shape[1]
    logprobs = model(ids, attention_mask=mask).logits[:, start - 1 : -1].log_softmax(-1)
    chosen: torch.Tensor = logprobs.gather(-1, batch["completion_ids"].unsqueeze(-1)).squeeze(-1)
    return chosen


def gradients_of(model: Any) -> dict[str, torch.Tensor]:
    """Parameter -> its gradient; resets the gradients."""
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    return gradients


def flat(gradients: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients.values()])


@pytest.mark.parametrize("masked", [False, True])
def test_truncated_samples_are_left_out(
    reward_models: Path, make_job: MakeJob, masked: bool
) -> None:
    """Of six samples, the second and the last have no end. Their rewards count in the mean."""
    texts = ["abb.", "aabbba", "b.", "ab.", "a.", "aabbbb"]
    trainer = trainer_of(make_job(**ENTRY, mask_truncated=masked), texts)
    batch = batch_of(trainer)
    used = batch["completion_mask"].sum(1)
    assert used.tolist() == [4, 0 if masked else 6, 2, 3, 2, 0 if masked else 6]
    assert batch["advantages"].reshape(2, 3).sum(1).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert batch["advantages"][[1, 5]].min() > 1
    assert trainer._compute_loss(trainer.model, batch).isfinite()


def test_samples_that_are_left_out_have_no_advantage(
    reward_models: Path, make_job: MakeJob
) -> None:
    """a and b rise together in the first prompt and are opposed in the second."""
    texts = ["ab", "aabb", "aaabbb", "abbb", "aabb", "aaab"]
    entry = {**ENTRY, "weights": {**ENTRY["weights"], "honest": 2.0}, "conflict_threshold": 1.0}
    advantages = batch_of(trainer_of(make_job(**entry), texts))["advantages"]
    assert advantages[:3].tolist() == pytest.approx([-1, 0, 1], abs=1e-3)
    assert advantages[[3, 5]].tolist() == [0, 0]


def test_rloo_is_reinforce(reward_models: Path, make_job: MakeJob) -> None:
    """The gradient of the loss is that of -mean(advantage * log p(sample)), without a KL term."""
    texts = ["abb.", "aabbba", "b.", "ab.", "a.", "aabbbb"]
    entry = {**ENTRY, "method": "rloo", "aggregation": "leave_one_out", "beta": 0.0}
    trainer = trainer_of(make_job(**entry), texts, loss="luspo")
    batch = batch_of(trainer)
    trainer._compute_loss(trainer.model, batch).backward()
    gradients = gradients_of(trainer.model)
    samples = (logprobs_of(trainer.model, batch) * batch["completion_mask"]).sum(1)
    (-(batch["advantages"] * samples).mean()).backward()
    for name, expected in gradients_of(trainer.model).items():
        torch.testing.assert_close(gradients[name], expected, atol=1e-5, rtol=1e-4, msg=name)
    assert max(float(gradient.abs().max()) for gradient in gradients.values()) > 0.1


def test_advantages_of_steps_reach_the_loss(reward_models: Path, make_job: MakeJob) -> None:
    """The gradient is that of -sum_t A_t log p(y_t), up to a factor, without a KL term."""
    texts = ["abb.", "aabbba", "b.", "ab.", "a.", "aabbbb"]
    steps = {"process_rewards": {"right": "mean"}, "step_advantages": True}
    trainer = trainer_of(make_job(**ENTRY, **steps, beta=0.0), texts)
    trainer.reward.vector = SteppedVector()
    batch = batch_of(trainer)
    advantages = batch["advantages"]
    assert advantages.shape == batch["completion_ids"].shape
    assert advantages[1].unique().numel() > 2 or advantages[4].unique().numel() > 2
    trainer._compute_loss(trainer.model, batch).backward()
    gradient = flat(gradients_of(trainer.model))
    chosen = logprobs_of(trainer.model, batch)
    (-(advantages * chosen * batch["completion_mask"]).sum()).backward()
    expected = flat(gradients_of(trainer.model))
    torch.testing.assert_close(
        gradient / gradient.norm(), expected / expected.norm(), atol=1e-5, rtol=1e-4
    )


def cosines_of(trainer: Any, batches: list[dict[str, Any]]) -> dict[str, float]:
    """The cosines that are logged for a step of these micro-batches."""
    for batch in batches:
        trainer._compute_loss(trainer.model, batch)
        trainer._step += 1
    logged = trainer._metrics["train"].items()
    cosines = {name: values for name, values in logged if name.startswith("cosine.")}
    assert all(len(values) == 1 for values in cosines.values())
    return {name: values[0] for name, values in cosines.items()}


def test_cosines_show_a_conflict(reward_models: Path, make_job: MakeJob) -> None:
    """1 for rewards that agree, -1 for opposed ones; micro-batches give the same values."""
    texts = ["ab", "aabb", "aaabbb", "abbb", "aabb", "aaab"]
    whole = trainer_of(make_job(**ENTRY, cosines_every=1), texts)
    batch = batch_of(whole)
    cosines = cosines_of(whole, [batch])
    assert len(cosines) == 6
    assert cosines["cosine.right.vivid"] == pytest.approx(1.0, abs=1e-3)
    assert cosines["cosine.helpful.honest"] == pytest.approx(-1.0, abs=1e-3)
    across = cosines["cosine.helpful.right"]
    assert abs(across) < 0.95
    influences = whole.reward.tracker.influences
    # of four gradients g, g, h and -h: <g, 2 g> and <h, 2 g>
    assert influences["right"] == pytest.approx(influences["vivid"], abs=1e-3)
    assert influences["right"] > 0
    assert influences["helpful"] == pytest.approx(-influences["honest"], abs=1e-3)
    logged = whole._metrics["train"]
    assert {name: logged[f"influence.{name}"] for name in influences} == {
        name: [value] for name, value in influences.items()
    }
    split = trainer_of(make_job(**ENTRY, cosines_every=1, micro_prompts=1), texts)
    halves = [
        {name: value[rows] if value.dim() else value for name, value in batch.items()}
        for rows in (slice(0, 3), slice(3, 6))
    ]
    assert cosines_of(split, halves) == pytest.approx(cosines, abs=1e-4)


def test_measuring_a_conflict_changes_nothing_else(reward_models: Path, make_job: MakeJob) -> None:
    """Neither gradients nor the random numbers that dropout uses; only every second step."""
    trainer = trainer_of(make_job(**ENTRY, cosines_every=2), ["ab", "aabb", "b", "a", "bb", "aa"])
    attach(trainer.model, Lora(rank=2, dropout=0.5), seed=0)
    trainer.gradients.parameters = [one for one in trainer.model.parameters() if one.requires_grad]
    trainer.model.train()
    batch, state = batch_of(trainer), torch.get_rng_state()
    trainer._measure_conflict(trainer.model, batch)
    assert torch.equal(state, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    trainer._metrics["train"].clear()
    trainer.state.global_step = 1
    assert cosines_of(trainer, [batch]) == {}


@pytest.mark.parametrize("loss", ["dapo", "luspo"])
def test_micro_batches_that_do_not_fit_are_split(
    reward_models: Path, make_job: MakeJob, loss: str
) -> None:
    """Memory for 2 of 3 rows, from the second micro-batch on: losses and gradients are the same."""
    results = []
    for memory in (3, 2):
        changes = {"cosines_every": 1, "micro_prompts": 1, "checkpoint_every": 9, "steps": 2}
        job = make_job(**{**ENTRY, **changes})
        trainer = trainer_of(job, ["ab", "aabb.", "aaabbb"], loss=loss)
        plain, calls = trainer._get_per_token_logps_and_entropies, list[int]()

        def scarce(
            model: Any,
            ids: torch.Tensor,
            *arguments: Any,
            memory: int = memory,
            plain: Any = plain,
            calls: list[int] = calls,
            **kwargs: Any,
        ) -> Any:
            calls.append(len(ids))
            if torch.is_grad_enabled() and len(ids) > memory and len(calls) > 6:
                raise torch.OutOfMemoryError("planted")
            return plain(model, ids, *arguments, **kwargs)

        trainer._get_per_token_logps_and_entropies = scarce
        trainer.train()
        weights = torch.cat([one.detach().flatten() for one in trainer.model.parameters()])
        history = [entry for entry in trainer.state.log_history if "loss" in entry]
        results.append((weights, history, trainer.split.rows))
    (whole, before, none), (split, after, rows) = results
    assert (none, rows) == (None, 2)
    torch.testing.assert_close(split, whole, atol=1e-6, rtol=1e-4)
    assert len(before) == len(after) == 2
    for one, two in zip(before, after, strict=True):
        names = [name for name in one if name in ("loss", "grad_norm") or "cosine." in name]
        assert len(names) > 2
        assert [one[name] for name in names] == pytest.approx(
            [two[name] for name in names], abs=1e-4
        )
