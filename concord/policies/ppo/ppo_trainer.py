"""The training loop of PPO with a vector critic.

Each step samples answers from the policy, scores them (`concord.policies.ppo.experience`), and
trains the policy and the critic on them for several epochs of minibatches. A minibatch that does
not fit in memory is split (`concord.lm.split_step`). Models stay in evaluation mode: dropout would
make the probability ratio noisy.
"""

from __future__ import annotations

import random
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from concord.lm.split_step import SplitStep
from concord.lm.trackers import TrainingLog
from concord.policies.ppo.answer_batch import (
    AnswerBatch,
    Answers,
    distributions,
    token_logprobs,
)
from concord.policies.ppo.clipped_loss import policy_loss, value_losses
from concord.policies.ppo.experience import (
    Experience,
    batch_metrics,
    experience_of,
    score_tokens,
    streams_of,
)
from concord.policies.ppo.ppo_settings import PpoSettings
from concord.stage import progress, resume
from concord.stage.errors import ModelError

STATE = "state.pt"
KEPT_CHECKPOINTS = 2


@dataclass(frozen=True)
class Minibatch:
    """The rows of an optimiser step."""

    experience: Experience
    rows: Tensor
    """Indices `(rows,)` of the batch of answers."""
    step: int


class PpoTrainer:
    """Trains a policy and its critic in place.

    Args:
        policy: the causal language model to train, in evaluation mode.
        reference: the SFT model; None if and only if `beta` is 0.
        critic: `concord.policies.ppo.critic.Critic` with a head per name and, if there is a
            reference, one more for the KL penalty.
        names: the objectives, in the order of the columns of `Answers.rewards`.
        collect: step -> sampled answers with their rewards.
        pad: id of the padding token.
        seed: seed of the minibatches.
        work: folder for checkpoints (`concord.stage.resume.folder`); None saves none.
        report_to: services that logs are sent to (`runtime.report_to`).
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
        report_to: Sequence[str] = (),
    ) -> None:
        self.policy, self.reference, self.critic = policy, reference, critic
        self.settings, self.collect = settings, collect
        self.streams = [*names, *(["kl"] if settings.beta else [])]
        self.pad, self.seed, self.work, self.report_to = pad, seed, work, report_to
        self.history: list[dict[str, float]] = []
        """The metrics of each step."""
        self.rates = {"policy": settings.learning_rate, "critic": settings.critic_learning_rate}
        self.weights = {
            name: [weight for weight in model.parameters() if weight.requires_grad]
            for name, model in (("policy", policy), ("critic", critic))
        }
        self.optimizer = torch.optim.AdamW(
            [{"params": self.weights[name], "lr": self.rates[name]} for name in self.rates],
            weight_decay=0.0,
        )
        self.sums: dict[str, float] = defaultdict(float)
        """The metrics of the current minibatch, summed over its parts."""
        self.split: SplitStep[Minibatch] = SplitStep(
            self._backward, lambda rows: self._begin(), "prompts_per_step"
        )

    def train(self, label: str = "training") -> None:
        """Trains until the last step, from the newest checkpoint if there is one.

        Raises ModelError if the loss is not finite.
        """
        self._load()
        steps, start = self.settings.steps, len(self.history)
        log, figures = TrainingLog(self.report_to, label, steps, self.policy), dict[str, float]()
        for step in progress.track(range(start, steps), steps, label, start, figures):
            self.history.append({"step": step + 1, **self.train_step(step)})
            figures["loss"] = self.history[-1]["loss"]
            log.log(step + 1, self.history[-1])
            if self.work is not None and (step + 1) % self.settings.checkpoint_every == 0:
                self._save(self.work, step + 1)
        log.end()

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

    def experience(self, answers: Answers) -> tuple[Experience, dict[str, float]]:
        """What the losses need to know about a batch of answers, and metrics of the batch."""
        settings = self.settings
        batch = AnswerBatch.of(answers, self.pad, next(self.policy.parameters()).device)
        scores = score_tokens(self.policy, self.reference, self.critic, batch, settings.minibatches)
        streams = streams_of(answers, scores.log_ratio, settings.beta)
        metrics = batch_metrics(batch, scores, streams, self.streams, settings.gamma)
        return experience_of(batch, scores, streams, settings), metrics

    def _update(self, experience: Experience, rows: Tensor, update: int) -> dict[str, float]:
        """One optimiser step on some rows of the batch; returns its metrics."""
        self._begin()
        step = update // self.settings.updates + 1
        self.split(Minibatch(experience, rows, step), len(rows), last=True)
        return {**self.sums, **self._step(update)}

    def _begin(self) -> None:
        """Removes gradients and metrics."""
        self.optimizer.zero_grad()
        self.sums.clear()

    def _backward(self, minibatch: Minibatch, part: slice) -> Tensor:
        """Adds the gradient and the metrics of some rows of a minibatch; returns their loss."""
        experience, rows = minibatch.experience, minibatch.rows[part]
        batch, answer = experience.batch, experience.batch.trained[rows]
        inputs = batch.inputs_of(rows)
        loss, clip_share = policy_loss(
            token_logprobs(distributions(self.policy, inputs, batch.kept), inputs),
            experience.logprobs[rows],
            experience.advantages[rows],
            answer,
            self.settings.clip,
        )
        values = self.critic(inputs, batch.kept)
        errors = value_losses(values, experience.returns[rows], answer, experience.trained[rows])
        # Both losses are means over tokens.
        share = answer.sum() / batch.trained[minibatch.rows].sum().clamp(min=1)
        loss, clip_share, errors = loss * share, clip_share * share, errors * share
        total = loss + errors.sum()
        self._check(total, minibatch.step)
        torch.autograd.backward(total)
        self.sums["loss"] += loss.item()
        self.sums["clip_share"] += clip_share.item()
        for name, error in zip(self.streams, errors.tolist(), strict=True):
            self.sums[f"value_loss.{name}"] += error
        return total.detach()

    def _check(self, total: Tensor, step: int) -> None:
        if not bool(total.isfinite()):
            raise ModelError(
                f"The loss at step {step} is {total.item()}: training diverged. "
                "Lower `learning_rate` or `critic_learning_rate`."
            )

    def _step(self, update: int) -> dict[str, float]:
        """Clips each model's gradient and makes an optimiser step."""
        rate, limit = self.settings.rate(update), self.settings.max_grad_norm
        metrics = {"learning_rate": rate * self.settings.learning_rate}
        for group, (name, weights) in zip(
            self.optimizer.param_groups, self.weights.items(), strict=True
        ):
            metrics[f"grad_norm.{name}"] = torch.nn.utils.clip_grad_norm_(weights, limit).item()
            group["lr"] = rate * self.rates[name]
        self.optimizer.step()
        return metrics

    def _save(self, work: Path, step: int) -> None:
        """Writes a checkpoint and removes all but the newest."""
        folder = work / f"checkpoint-{step}"
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: part.state_dict() for name, part in self._parts().items()}
        torch.save({**state, "history": self.history}, folder / STATE)
        resume.mark_complete(work, step)
        checkpoints = sorted(work.glob("checkpoint-*"), key=resume.step_of)
        for older in checkpoints[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(older)

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
