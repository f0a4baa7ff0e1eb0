"""PPO on problems with known solutions, and its equalities with simpler methods."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax

from concord.policies.ppo.answer_batch import AnswerBatch, Answers
from concord.policies.ppo.clipped_loss import policy_loss, value_losses
from concord.stage.errors import ModelError
from tests.policies.ppo.toy import START, Environment, TablePolicy, settings, trainer

START_WEIGHT = 0.3
UNIFORM = [[0.0, 0.0]] * 3
CHAIN = {(0, 0): (0.0, 4.0), (0, 1): (1.0, 0.0), (1, 0): (2.0, 0.0), (1, 1): (5.0, 0.0)}
"""Rewards `a` and `b` of the answers with two tokens."""


def chain(weights: list[float], rewards: Any = None) -> Environment:
    rewards = rewards or (lambda answer: CHAIN[tuple(answer)])
    return Environment(TablePolicy(UNIFORM), 2, 64, rewards, weights)


def test_a_bandit_converges_to_the_optimum_of_the_kl_penalty() -> None:
    """One-token answers: the optimum of E[r] - beta KL is softmax(log p_ref + r / beta)."""
    start, beta = [1.0, 0.0, -1.0, 0.5], 0.5
    rewards = {0: (0.0, 1.0), 1: (1.0, 0.0), 2: (1.0, 1.0), 3: (-0.5, 0.0)}
    policy, reference = TablePolicy([start] * 4), TablePolicy([start] * 4)
    environment = Environment(policy, 1, 128, lambda answer: rewards[answer[0]], [0.75, 0.25])
    chosen = settings(beta=beta, steps=100, learning_rate=0.1)
    trainer(environment, chosen, ["a", "b"], reference).train()
    utility = torch.tensor([0.25, 0.75, 1.0, -0.375])
    optimum = (log_softmax(torch.tensor(start), -1) + utility / beta).softmax(-1)
    learned = policy.table[2].detach().softmax(-1)
    assert float((learned - optimum).abs().sum()) / 2 < 0.02
    assert float((torch.tensor(start).softmax(-1) - optimum).abs().sum()) / 2 > 0.3


def test_the_critic_carries_credit_over_two_steps() -> None:
    """With lambda = 0 only values carry a reward from the last token to the first.

    Under the uniform policy, `a` is worth 0.5 after token 0, 3.5 after token 1, and 2 at the start;
    `b` is worth 2, 0 and 1.
    """
    answers = Answers(
        [[START]] * 4,
        [*map(list, CHAIN)],
        [True] * 4,
        np.array([*CHAIN.values()]),
        np.full((4, 2), 0.5),
        {},
    )
    chosen = settings(
        gae_lambda=0.0, learning_rate=1e-9, critic_learning_rate=0.1, steps=150, minibatches=1
    )
    learner = trainer(chain([0.5, 0.5]), chosen, ["a", "b"])
    learner.collect = lambda step: answers
    before, _ = learner.experience(answers)
    assert len(before.advantages[:, 0].unique()) == 1  # no credit for the first token
    learner.train()
    values = learner.critic.heads(learner.critic.backbone.embedding).detach()
    expected = torch.tensor([[0.5, 2.0], [3.5, 0.0], [2.0, 1.0]])
    torch.testing.assert_close(values, expected, atol=0.02, rtol=0)
    after, _ = learner.experience(answers)
    credit = after.advantages[:, 0].tolist()  # (3.5 + 0 - 3) / 2 > (0.5 + 2 - 3) / 2
    assert credit[2] == credit[3] > 0 > credit[0] == credit[1]


def learned_weights(names: list[str], weights: list[float], other: float) -> list[torch.Tensor]:
    """The policy's table, and the critic's states and heads, after training on reward `a`."""
    rewards = {answer: (CHAIN[answer][0], other)[: len(names)] for answer in CHAIN}
    environment = chain(weights, lambda answer: rewards[tuple(answer)])
    learner = trainer(environment, settings(), names)
    heads = learner.critic.heads
    torch.nn.init.constant_(heads.weight, START_WEIGHT)  # at 0, a value could not do any harm
    learner.train()
    return [
        weight.detach()
        for weight in (
            environment.policy.table,
            learner.critic.backbone.embedding,
            *heads.parameters(),
        )
    ]


def test_an_objective_without_weight_or_reward_adds_exactly_nothing() -> None:
    """`b` has no weight, or NaN for a reward: both equal training on `a` alone.

    The two are equal bit for bit. A matrix of one head may round differently from one of two.
    """
    weightless = learned_weights(["a", "b"], [1.0, 0.0], 7.0)
    rewardless = learned_weights(["a", "b"], [1.0, 0.5], math.nan)
    assert all(torch.equal(one, two) for one, two in zip(weightless, rewardless, strict=True))
    policy, states, heads, biases = weightless
    assert bool((heads[1] == START_WEIGHT).all())
    assert not biases[1].any()
    alone = learned_weights(["a"], [1.0], 0.0)
    for one, two in zip((policy, states, heads[:1], biases[:1]), alone, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-5)
    assert float(policy.abs().max()) > 0.1


def test_value_losses_of_rows_without_a_reward_are_zero() -> None:
    """By hand: stream 1 has errors 1 and 2 in row 1 and no reward in row 2."""
    values = torch.zeros(2, 2, 2, requires_grad=True)
    returns = torch.tensor([[[1.0, 1.0], [2.0, 0.0]], [[9.0, 3.0], [9.0, 1.0]]])
    answer = torch.tensor([[True, True], [False, True]])
    losses = value_losses(values, returns, answer, torch.tensor([[True, True], [False, True]]))
    torch.testing.assert_close(losses, torch.tensor([0.5 * 5 / 3, 0.5 * 2 / 3]))
    losses.sum().backward()
    assert values.grad is not None
    assert not values.grad[1, :, 0].any()
    assert not values.grad[1, 0].any()


def test_the_policy_loss_by_hand() -> None:
    """Ratios 1.5, 1.5, 0.5, 0.5 with advantages 1, -1, 1, -1, clipped at 0.8 and 1.2.

    The smaller product counts: 1.2, -1.5, 0.5, -0.8. The first and the last are clipped.
    """
    logprobs = torch.tensor([[1.5, 1.5, 0.5, 0.5, 9.0]]).log()
    answer = torch.tensor([[True, True, True, True, False]])
    advantages = torch.tensor([[1.0, -1.0, 1.0, -1.0, 9.0]])
    loss, share = policy_loss(logprobs, torch.zeros(1, 5), advantages, answer, 0.2)
    assert float(loss) == pytest.approx(-(1.2 - 1.5 + 0.5 - 0.8) / 4)
    assert float(share) == 0.5


def scalar_ppo(environment: Environment, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """PPO with one value per token, one epoch of one minibatch, written for two-token answers.

    No clipping is needed: the ratio is 1 at the only update. Returns the tables.
    """
    policy = environment.policy.table
    embedding = (torch.eye(3) + 0.1).requires_grad_()
    head, bias = torch.zeros(3, requires_grad=True), torch.zeros((), requires_grad=True)
    critic = [embedding, head, bias]
    optimizer = torch.optim.AdamW([policy, *critic], lr=0.05, weight_decay=0.0)
    for step in range(steps):
        answers = environment(step)
        tokens, rewards = torch.tensor(answers.responses), torch.tensor(answers.rewards[:, 0])
        states = torch.stack([torch.full_like(tokens[:, 0], 2), tokens[:, 0]], dim=1)
        values = embedding[states] @ head + bias
        late = rewards.float() - values[:, 1]
        early = values[:, 1] - values[:, 0] + 0.95 * late
        advantages = torch.stack([early, late], dim=1).detach()
        targets = advantages + values.detach()
        normed = (advantages - advantages.mean()) / (advantages.std() + 1e-4)
        logprobs = log_softmax(policy[states], -1).gather(-1, tokens[..., None])[..., 0]
        loss = -(normed * (logprobs - logprobs.detach()).exp()).mean()
        loss = loss + 0.5 * (values - targets).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([policy], 1.0)
        torch.nn.utils.clip_grad_norm_(critic, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (steps - step) / steps
        optimizer.step()
    return policy.detach(), (embedding @ head + bias).detach()


def test_one_objective_is_scalar_ppo() -> None:
    tables = []
    for method in ("scalar", "vector"):
        environment = chain([1.0], lambda answer: CHAIN[tuple(answer)][:1])
        if method == "scalar":
            tables.append(scalar_ppo(environment, 6))
            continue
        learner = trainer(
            environment,
            settings(gae_lambda=0.95, steps=6, epochs=1, minibatches=1, warmup_share=0),
            ["a"],
        )
        learner.train()
        values = learner.critic.heads(learner.critic.backbone.embedding)[:, 0]
        tables.append((environment.policy.table.detach(), values.detach()))
    for scalar, vector in zip(*tables, strict=True):
        torch.testing.assert_close(scalar, vector, atol=1e-5, rtol=1e-4)
    assert float(tables[0][0].abs().max()) > 0.1


def test_unfinished_answers_are_not_learned_from() -> None:
    """Nothing changes when no answer is finished. KL and lengths still count all answers."""
    environment = chain([1.0, 1.0])
    answers = environment(0)
    unfinished = Answers(**{**vars(answers), "finished": [False] * 64})
    learner = trainer(environment, settings(steps=1), ["a", "b"])
    learner.collect = lambda step: unfinished
    metrics = learner.train_step(0)
    assert torch.equal(environment.policy.table, TablePolicy(UNIFORM).table)
    assert not learner.critic.heads.weight.any()
    assert (metrics["unfinished"], metrics["length"], metrics["loss"]) == (1.0, 2.0, 0.0)


def test_a_diverged_training_stops() -> None:
    environment = chain([1.0], lambda answer: (1e30,))
    with pytest.raises(ModelError, match=r"The loss at step 1 is inf: .* Lower `learning_rate`"):
        trainer(environment, settings(), ["a"]).train()


def test_a_minibatch_that_does_not_fit_is_split() -> None:
    """Memory for 8 of 32 rows; half of the answers are unfinished, so parts weigh differently."""
    results = []
    for memory in (64, 8):
        environment = chain([0.5, 0.5])
        learner = trainer(environment, settings(epochs=1), ["a", "b"])

        def collect(step: int, sample: Environment = environment) -> Answers:
            finished = [row % 3 > 0 for row in range(64)]
            return Answers(**{**vars(sample(step)), "finished": finished})

        plain = learner.critic.backbone.forward

        def forward(input_ids: Any, memory: int = memory, plain: Any = plain, **kwargs: Any) -> Any:
            if torch.is_grad_enabled() and len(input_ids) > memory:
                raise torch.OutOfMemoryError("planted")
            return plain(input_ids, **kwargs)

        learner.collect, learner.critic.backbone.forward = collect, forward
        learner.train()
        results.append((environment.policy.table.detach(), learner.history))
    assert learner.split.rows == 8
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-6, rtol=1e-5)
    assert float(results[0][0].abs().max()) > 0.1
    for one, two in zip(results[0][1], results[1][1], strict=True):
        assert one == pytest.approx(two, rel=1e-4, abs=1e-6)


def test_batches_are_aligned_at_the_last_token() -> None:
    """Answers of 1 and 3 tokens after prompts of 2 and 1 tokens; the second did not finish."""
    answers = Answers(
        [[5, 6], [7]],
        [[1], [2, 3, 4]],
        [True, False],
        torch.zeros(2, 1).numpy(),
        torch.ones(2, 1).numpy(),
        {},
    )
    batch = AnswerBatch.of(answers, 0, "cpu")
    assert batch.inputs["input_ids"].tolist() == [[0, 5, 6, 1], [7, 2, 3, 4]]
    assert batch.inputs["position_ids"].tolist() == [[0, 0, 1, 2], [0, 1, 2, 3]]
    assert batch.sampled.tolist() == [[False, False, True], [True, True, True]]
    assert batch.trained.tolist() == [[False, False, True], [False, False, False]]
    assert [part.tolist() for part in batch.parts(2, [1, 0])] == [[1], [0]]
