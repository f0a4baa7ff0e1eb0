"""The training loop of PPO with a vector critic.

Each step samples answers from the policy, scores them, and then trains the policy and the critic on
them for several epochs of minibatches. A stream is an objective, or the KL penalty:

- An objective gives its anchored reward at the last token of an answer. An objective without a
  reward for a row, or without a weight, adds exactly 0 to both losses.
- The KL penalty gives -beta log(p(y_t) / p_SFT(y_t)) at every token, with weight 1.

The critic has a value head per stream, so each stream has its own advantages. These are summed with
the weights of the row afterwards.

Answers that did not reach their end of sequence are masked. The reward of an unfinished answer
says little, and a value in its place would be the critic's guess about endings it has never seen.

Models stay in evaluation mode: dropout would make the probability ratio noisy.
"""

from __future__ import annotations

import random
import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from concord.policies.ppo.answer_batch import (
    AnswerBatch,
    Answers,
    distributions,
    token_logprobs,
)
from concord.policies.ppo.clipped_loss import policy_loss, value_losses
from concord.policies.ppo.gae import explained_variance, gae, sum_then_normalize
from concord.policies.ppo.ppo_settings import PpoSettings
from concord.stage import progress, resume
from concord.stage.errors import ModelError

STATE = "state.pt"
KL = "kl"


@dataclass(frozen=True)
class Experience:
    """What the losses need to know about a batch. Estimates are from before its first update."""

    batch: AnswerBatch
    logprobs: Tensor
    """Log-probabilities of the tokens under the policy that sampled them, `(rows, kept)`."""
    advantages: Tensor
    """Advantages, summed over the streams and normalised, `(rows, kept)`."""
    returns: Tensor
    """Targets of the critic, `(rows, kept, streams)`."""
    trained: Tensor
    """Marks the streams of each row that have a reward and a weight, `(rows, streams)`."""


class PpoTrainer:
    """Trains a policy and its critic in place.

    Args:
        policy: the causal language model to train, in evaluation mode.
        reference: the SFT model; None if `beta` is 0.
        critic: `concord.policies.ppo.critic.Critic` with a head per name and, if there is a
            reference, one more for the KL penalty.
        names: the objectives, in the order of the columns of `Answers.rewards`.
        collect: step -> sampled answers with their rewards.
        pad: id of the padding token.
        seed: seed of the minibatches.
        work: folder for checkpoints (`concord.stage.resume.folder`); None saves none.
    """

    def __init__(
        self,
        policy: Any,
        reference: Any,
        critic: Any,
        settings: PpoSettings,
        names: list[str],
        collect: Callable[[int], Answers],
        *,
        pad: int,
        seed: int,
        work: Path | None = None,
    ) -> None:
        self.policy, self.reference, self.critic = policy, reference, critic
        self.settings, self.collect = settings, collect
        self.streams = [*names, *([] if reference is None else [KL])]
        self.pad, self.seed, self.work = pad, seed, work
        self.history: list[dict[str, float]] = []
        """The metrics of each step."""
        self.rates = {
            "policy": settings.learning_rate,
            "critic": settings.critic_learning_rate,
        }
        self.parameters = {
            name: [weight for weight in model.parameters() if weight.requires_grad]
            for name, model in (("policy", policy), ("critic", critic))
        }
        self.optimizer = torch.optim.AdamW(
            [{"params": self.parameters[name], "lr": self.rates[name]} for name in self.rates],
            weight_decay=0.0,
        )

    def train(self, label: str = "training") -> None:
        """Trains until the last step, from the newest checkpoint if there is one.

        Raises ModelError if the loss is not finite.
        """
        self._load()
        steps = self.settings.steps
        for step in progress.track(range(steps), steps, label):
            if step < len(self.history):
                continue
            self.history.append({"step": step + 1, **self.train_step(step)})
            if self.work is not None and (step + 1) % self.settings.checkpoint_every == 0:
                self._save(self.work, step + 1)

    def train_step(self, step: int) -> dict[str, float]:
        """Samples one batch of answers and learns from it; returns the metrics."""
        answers = self.collect(step)
        experience, metrics = self.experience(answers)
        generator, rows = random.Random(f"{self.seed}-{step}"), len(answers.responses)
        sums: dict[str, float] = defaultdict(float)
        for epoch in range(self.settings.epochs):
            order = generator.sample(range(rows), rows)
            parts = experience.batch.parts(self.settings.minibatches, order)
            for index, part in enumerate(parts, epoch * self.settings.minibatches):
                update = self._update(experience, part, step * self.settings.updates + index)
                for name, value in update.items():
                    sums[name] += value / self.settings.updates
        return {**sums, **metrics, **answers.metrics}

    @torch.no_grad()
    def experience(self, answers: Answers) -> tuple[Experience, dict[str, float]]:
        """Log-probabilities, advantages and returns of a batch, and metrics of the batch."""
        batch = AnswerBatch.of(answers, self.pad, next(self.policy.parameters()).device)
        logprobs, entropy, log_ratio, values = self._scores(batch)
        rewards, weights, trained = self._rewards(answers, log_ratio)
        gamma = self.settings.gamma
        advantages = gae(rewards, values, gamma, self.settings.gae_lambda)
        total = sum_then_normalize(advantages, weights, batch.trained)
        experience = Experience(batch, logprobs, total, advantages + values, trained)
        metrics = {
            KL: float(log_ratio.masked_fill(~batch.sampled, 0.0).sum(1).mean()),
            "entropy": float(entropy[batch.sampled].mean()),
            "length": float(batch.sampled.sum(1).float().mean()),
            "unfinished": 1.0 - sum(answers.finished) / len(answers.finished),
        }
        outcomes = gae(rewards, values, gamma, 1.0) + values
        for stream, name in enumerate(self.streams):
            used = batch.trained & trained[:, stream, None]
            metrics[f"explained_variance.{name}"] = explained_variance(
                values[..., stream][used], outcomes[..., stream][used]
            )
        return experience, metrics

    def _scores(self, batch: AnswerBatch) -> list[Tensor]:
        """Of each token: log-probability, entropy, log-ratio to the reference, and values.

        `(rows, kept)` each, values `(rows, kept, streams)`.
        """
        scores = []
        for rows in batch.parts(self.settings.minibatches):
            inputs = batch.inputs_of(rows)
            policy = distributions(self.policy, inputs, batch.kept)
            logprobs = reference = token_logprobs(policy, inputs)
            if self.reference is not None:
                distribution = distributions(self.reference, inputs, batch.kept)
                reference = token_logprobs(distribution, inputs)
            entropy, values = -(policy.exp() * policy).sum(-1), self.critic(inputs, batch.kept)
            scores.append((logprobs, entropy, logprobs - reference, values))
        return [torch.cat(parts) for parts in zip(*scores, strict=True)]

    def _rewards(self, answers: Answers, log_ratio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rewards `(rows, kept, streams)`, weights and what is trained `(rows, streams)` each."""
        device = log_ratio.device
        outcome = torch.tensor(answers.rewards, dtype=torch.float32, device=device)
        weights = torch.tensor(answers.weights, dtype=torch.float32, device=device)
        weights = weights.masked_fill(outcome.isnan(), 0.0)
        rewards = log_ratio.new_zeros(*log_ratio.shape, len(self.streams))
        rewards[:, -1, : outcome.shape[1]] = outcome.nan_to_num(0.0)
        if self.reference is not None:
            rewards[..., -1] = -self.settings.beta * log_ratio
            weights = torch.cat([weights, torch.ones_like(weights[:, :1])], dim=1)
        return rewards, weights, weights > 0

    def _update(self, experience: Experience, rows: Tensor, update: int) -> dict[str, float]:
        """One optimiser step on some rows of the batch; returns its metrics."""
        batch, rate = experience.batch, self.settings.rate(update)
        inputs, answer = batch.inputs_of(rows), batch.trained[rows]
        loss, clip_share = policy_loss(
            token_logprobs(distributions(self.policy, inputs, batch.kept), inputs),
            experience.logprobs[rows],
            experience.advantages[rows],
            answer,
            self.settings.clip,
        )
        errors = value_losses(
            self.critic(inputs, batch.kept),
            experience.returns[rows],
            answer,
            experience.trained[rows],
        )
        total = loss + errors.sum()
        if not bool(total.isfinite()):
            raise ModelError(
                f"The loss at step {update // self.settings.updates + 1} is {float(total)}: training "
                "diverged. Lower `learning_rate` or `critic_learning_rate`."
            )
        self.optimizer.zero_grad()
        total.backward()
        metrics = {"loss": float(loss.detach()), "clip_share": float(clip_share)}
        for group, (name, weights) in zip(
            self.optimizer.param_groups, self.parameters.items(), strict=True
        ):
            norm = torch.nn.utils.clip_grad_norm_(weights, self.settings.max_grad_norm)
            metrics[f"grad_norm.{name}"] = float(norm)
            group["lr"] = rate * self.rates[name]
        self.optimizer.step()
        for name, error in zip(self.streams, errors.tolist(), strict=True):
            metrics[f"value_loss.{name}"] = error
        return {**metrics, "learning_rate": rate * self.settings.learning_rate}

    def _save(self, work: Path, step: int) -> None:
        """Writes a checkpoint and removes all but the newest two."""
        folder = work / f"checkpoint-{step}"
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: part.state_dict() for name, part in self._parts().items()}
        torch.save({**state, "history": self.history}, folder / STATE)
        resume.mark_complete(work, step)
        older = sorted(work.glob("checkpoint-*"), key=resume.step_of)[:-2]
        for checkpoint in older:
            shutil.rmtree(checkpoint)

    def _load(self) -> None:
        """Restores the newest complete checkpoint, if there is one."""
        newest = None if self.work is None else resume.newest(self.work)
        if newest is None:
            return
        state = torch.load(newest / STATE, map_location="cpu", weights_only=True)
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.history = state["history"]
        print(f"resuming from step {len(self.history)} of {self.settings.steps}")

    def _parts(self) -> dict[str, Any]:
        return {"policy": self.policy, "critic": self.critic, "optimizer": self.optimizer}
