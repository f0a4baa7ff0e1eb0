"""TRL's GRPO trainer with samples that can be drawn again, and with heads.

The changes to TRL's trainer:

1. Samples are drawn by `concord.lm.sample` with a seed for each step, so a resumed training equals
   an uninterrupted one. Every step draws new samples (`steps_per_generation=1`) for the same
   reason.
2. TRL must not rescale the advantages (`scale_rewards="none"`).
3. A policy with heads samples each prompt from the mix of heads that was drawn for it, and learns
   from the same mix. The reference is the SFT model with its single head.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

# TRL warns that `rollout_func` is experimental. The pinned version supports it.
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch
from datasets import Dataset  # type: ignore[import-untyped]
from torch import Tensor
from transformers import PrinterCallback, TrainerCallback
from trl.trainer.grpo_config import GRPOConfig

from concord.lm import trackers
from concord.lm.learning_rates import separate
from concord.policies.job import PolicyJob
from concord.policies.moving_weights import WeightTracker
from concord.policies.objective_gradients import (
    INFLUENCE,
    ObjectiveGradients,
    cosines,
    influences,
)
from concord.policies.rl.online_sampler import Sampler
from concord.policies.rl.reward_function import RewardFunction
from concord.policies.rl.settings import OnlineParams
from concord.policies.rl.split_grpo import LossType, SplitGRPOTrainer
from concord.policies.rl.step_prompts import WEIGHTS
from concord.stage import resume
from concord.stage.progress import Reporter

PARTS = "parts"
"""Key of a batch with the rewards of its samples, each normalised in its group."""


class OnlineTrainer(SplitGRPOTrainer):
    """The trainer of one job.

    Args:
        job: the policy to train; its parameters are `OnlineParams`.
        model: a stock model, or a `MultiHeadCausalLM` whose prompts have the column `WEIGHTS`.
        tokenizer: the tokenizer of the model.
        reward: the reward function.
        prompts: the prompts of all steps, in order.
        work: the folder of the checkpoints.
        loss: `dapo` divides the loss by the tokens of a micro-batch, `luspo` by its samples.
        rates: prefix of parameter names -> learning rate, where it is not that of the job.
        shared: the parameters whose gradients are compared between objectives; all if None.
    """

    def __init__(
        self,
        job: PolicyJob,
        model: Any,
        tokenizer: Any,
        reward: RewardFunction,
        prompts: Sequence[Mapping[str, Any]],
        work: Path,
        loss: LossType = "dapo",
        rates: Mapping[str, float] | None = None,
        shared: Sequence[torch.nn.Parameter] | None = None,
    ) -> None:
        self.params: OnlineParams = job.params
        self.reward, self.rates = reward, dict(rates or {})
        self.gradients = ObjectiveGradients(
            [one for one in shared or model.parameters() if one.requires_grad]
        )
        self.mixes: Tensor | None = None
        """`(rows, heads)`: the weights of the heads in the micro-batch; None without heads."""
        super().__init__(
            loss,
            model=model,
            reward_funcs=[cast(Any, reward)],
            args=config(job, work, loss, model.device.type == "cpu"),
            train_dataset=Dataset.from_list(list(prompts)),
            processing_class=tokenizer,
            rollout_func=Sampler(job, tokenizer),
            callbacks=[Checkpoints(job.name, reward.tracker)],
        )
        self.remove_callback(PrinterCallback)

    def create_optimizer(self, model: Any = None) -> Any:
        """The Trainer's optimiser, with a group for each parameter that has its own rate."""
        optimizer = super().create_optimizer(model)
        if self.rates:
            separate(optimizer, cast(Any, self.model), self.rates)
        return optimizer

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """TRL's batch with the final advantages and the mixes of the heads.

        TRL shuffles the rows of all tensors of the batch in the same way.
        """
        if WEIGHTS in inputs[0]:
            weights = [row[WEIGHTS] for row in inputs]
            self.mixes = torch.tensor(weights, dtype=torch.float32, device=self.accelerator.device)
        batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if self.params.step_advantages:
            ids = batch["completion_ids"].tolist()
            by_token = torch.tensor(self.reward.token_advantages(ids, self.processing_class))
            batch["advantages"] = by_token.to(batch["advantages"])
        else:
            batch["advantages"] = self.reward.finish(batch["advantages"])
        if self.mixes is not None:
            batch[WEIGHTS] = self.mixes
        batch[PARTS] = torch.tensor(self.reward.parts, dtype=torch.float32).to(batch["advantages"])
        return batch

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        self.mixes = inputs.get(WEIGHTS)
        every = self.params.cosines_every
        if every is not None and self.state.global_step % every == 0:
            self._measure_conflict(model, inputs)
        return super()._compute_loss(model, inputs)

    def _restart(self, rows: int) -> None:
        super()._restart(rows)
        self.gradients.take()

    def _measure_conflict(self, model: Any, inputs: dict[str, Any]) -> None:
        """Adds the policy gradients of a micro-batch; compares them with the last of a step.

        The gradient of an objective is that of its normalised reward as the advantage. Cosines and
        influences are logged, and the influences are passed to the weights that move.
        """
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        with torch.random.fork_rng():  # the dropout of adapters must not change the training
            tokens, _, _ = self._get_per_token_logps_and_entropies(
                model, ids, mask, inputs["completion_ids"].shape[1]
            )
        logprobs = (tokens * inputs["completion_mask"]).sum(1)  # (rows,)
        parts = inputs[PARTS]  # (rows, objectives)
        self.gradients.add(
            {
                name: -(parts[:, column] * logprobs).mean() * self.share
                for column, name in enumerate(self.reward.vector.names)
                if parts[:, column].any()
            }
        )
        accumulation = self.params.prompts_per_step // self.params.micro
        if (self._step + 1) % accumulation == 0 and self.is_last_part:
            gradients = self.gradients.take()
            measured = self.reward.tracker.influences = influences(gradients)
            metrics = {f"{INFLUENCE}.{name}": value for name, value in measured.items()}
            for name, value in (cosines(gradients) | metrics).items():
                self._metrics["train"][name].append(value)

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        *arguments: Any,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Log-probabilities and entropies `(rows, logits_to_keep)`, each row under its own mix.

        TRL computes them from a single output matrix, which a policy with heads does not have.
        """
        if self.mixes is None or model is self.ref_model:
            result: tuple[Tensor, Tensor | None, Tensor | None]
            result = super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *arguments, **kwargs
            )
            return result
        logits = model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            head_weights=self.mixes,
            logits_to_keep=logits_to_keep + 1,
            use_cache=False,
        ).logits[:, :-1]
        logprobs = (logits.float() / self.temperature).log_softmax(-1)
        tokens = input_ids[:, -logits_to_keep:].unsqueeze(-1)
        with torch.no_grad():
            entropies = -(logprobs.exp() * logprobs).sum(-1)
        return logprobs.gather(-1, tokens).squeeze(-1), entropies, None


class Checkpoints(TrainerCallback):
    """Moves the weights after a step, completes checkpoints, and reports progress."""

    def __init__(self, name: str, tracker: WeightTracker) -> None:
        self.name, self.tracker = name, tracker
        self.report: Reporter | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.report = Reporter(state.max_steps, f"policy {self.name}", state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.tracker.end_step(state.global_step - 1)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if "loss" in (logs := kwargs["logs"]) and self.report is not None:
            self.report(state.global_step, {"loss": logs["loss"]})

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        folder = Path(args.output_dir)
        self.tracker.save(folder / f"checkpoint-{state.global_step}")
        resume.mark_complete(folder, state.global_step)


def config(job: PolicyJob, work: Path, loss: LossType, on_cpu: bool) -> GRPOConfig:
    """TRL's config."""
    params: OnlineParams = job.params
    return GRPOConfig(
        output_dir=str(work),
        max_steps=params.steps,
        per_device_train_batch_size=params.micro * params.generations,
        num_generations=params.generations,
        steps_per_generation=1,
        max_completion_length=params.max_new_tokens,
        temperature=params.temperature,
        beta=params.beta,
        scale_rewards="none",
        loss_type=loss,
        # A sum over tokens is the gradient of a whole sample, so its ratio is that of the sample.
        importance_sampling_level="sequence" if loss == "luspo" else "token",
        mask_truncated_completions=params.mask_truncated,
        shuffle_dataset=False,
        learning_rate=params.learning_rate,
        warmup_steps=round(params.warmup_share * params.steps),
        max_grad_norm=params.max_grad_norm,
        save_steps=params.checkpoint_every,
        save_total_limit=2,
        logging_steps=1,
        seed=job.seeds.sampling,
        disable_tqdm=True,
        use_cpu=on_cpu,
        bf16=job.runtime.dtype == "bfloat16",
        activation_checkpointing=False,
        dataloader_pin_memory=not on_cpu,
        gradient_accumulation_steps=params.prompts_per_step // params.micro,
        **trackers.arguments(job.runtime.report_to, f"policy {job.name}"),
    )
