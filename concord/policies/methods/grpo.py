"""GRPO (arXiv 2402.03300) on the reward vector with TRL's trainer.

With the aggregation `normalize_then_sum`, each reward is normalised first, as in GDPO.

TRL gets a single reward function. It returns the final advantages (`concord.policies.advantages`)
and logs the raw, anchored and weighted rewards of each objective. Samples are drawn by
`concord.lm.sample`.
"""

from __future__ import annotations

import csv
import math
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.lm.chat import render
from concord.lm.load import load_causal, load_tokenizer
from concord.lm.lora import Lora, attach, merge
from concord.objectives import domain_weights
from concord.policies.job import ROLLOUTS, Method, PolicyJob, save
from concord.rewards.outcome.reward_model import load
from concord.rewards.vector.reward_vector import RewardVector
from concord.stage import outputs, plugins, resume, runtime
from concord.stage.errors import DataError
from concord.stage.params import FORBID
from concord.stage.paths import ANCHORS, REWARDS, SFT
from concord.stage.progress import Reporter

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True, config=FORBID, kw_only=True)
class GrpoParams:
    """Settings of sampling and optimisation."""

    method: Literal["grpo"]
    weights: dict[str, float]
    """Weight of each objective's anchored reward, normalised to sum to 1 within a domain. Missing
    objectives get weight 0."""
    aggregation: str
    """How rewards become advantages: a function of concord/policies/advantages.py."""
    learning_rate: Annotated[float, Field(gt=0)]
    """Peak learning rate (AdamW, linear decay)."""
    steps: Annotated[int, Field(ge=1)]
    """Optimiser steps, each on new samples."""
    prompts_per_step: Annotated[int, Field(ge=1)]
    """Prompts per step, balanced over domains."""
    generations: Annotated[int, Field(ge=2)]
    """Samples per prompt."""
    micro_prompts: Annotated[int, Field(ge=1)] | None = None
    """Prompts per micro-batch, a divisor of `prompts_per_step`; null: all prompts of a step. TRL
    divides the loss by the number of tokens in a micro-batch. With 1, all prompts have the same
    weight; with more, prompts with longer answers have more weight."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 96
    """Longest sample, in tokens."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Sampling temperature."""
    beta: Annotated[float, Field(ge=0)] = 0.02
    """Weight of the KL divergence from the SFT model; with 0, no reference model is loaded."""
    warmup_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of the steps used for learning-rate warm-up."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients with a larger norm are scaled down to it."""
    lora: Lora | None = None
    """Trains low-rank adapters instead of all weights; merged after training."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 20
    """Steps between checkpoints."""

    def __post_init__(self) -> None:
        if self.prompts_per_step % self.micro:
            raise ValueError(
                f"`micro_prompts` {self.micro} does not divide `prompts_per_step` "
                f"{self.prompts_per_step}; give a divisor"
            )

    @property
    def micro(self) -> int:
        """Prompts per micro-batch."""
        return self.micro_prompts or self.prompts_per_step


def run(job: PolicyJob) -> None:
    """Trains the policy and saves it as a stock checkpoint."""
    from concord.rewards.vector.anchors import Anchors

    device = runtime.start(job.runtime, job.seeds.sampling)
    model, tokenizer = load_causal(SFT, device, job.runtime.dtype), load_tokenizer(SFT)
    if job.params.lora is not None:
        attach(model, job.params.lora, job.seeds.sampling)
    vector = RewardVector(
        {name: job.objectives[name] for name in job.vector}, reward_models(job, device)
    )
    work = resume.folder(job.stage, job, [SFT, ROLLOUTS, ANCHORS, REWARDS], __file__)
    prompts = prompts_in_order(outputs.read_table(ROLLOUTS), job.params, job.seeds.data)
    trainer = build(
        job, model, tokenizer, Advantage(job, vector, Anchors.load(ANCHORS)), prompts, work
    )
    newest = resume.newest(work)
    trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
    write_curve(job.curve, trainer.state.log_history)
    if job.params.lora is not None:
        merge(model)
    save(model, job)
    shutil.rmtree(work, ignore_errors=True)


def reward_models(job: PolicyJob, device: Any) -> dict[str, Any]:
    """The reward models of the objectives in the reward vector, by name."""

    groups = sorted(
        {str(job.objectives[name].reward) for name in job.vector if job.objectives[name].reward}
    )
    return {group: load(REWARDS / group, device, job.runtime.dtype) for group in groups}


def prompts_in_order(rollouts: pd.DataFrame, params: GrpoParams, seed: int) -> list[dict[str, Any]]:
    """The prompts of all steps, `prompts_per_step` per step, alternating between the domains.

    Prompts are shuffled with `seed`; each prompt of a domain is used once before any is repeated.
    Raises DataError if there are no prompts.
    """
    first = rollouts.drop_duplicates("prompt_id").sort_values("prompt_id")
    streams: dict[str, list[dict[str, Any]]] = {}
    domains = sorted(set(first["domain"]))
    if not domains:
        raise DataError(f"{ROLLOUTS} contains no prompts to train on; raise rollouts.prompts")
    needed = params.steps * params.prompts_per_step
    for domain in domains:
        columns = ["prompt", "domain", "reference"]
        of_domain = first[first["domain"] == domain].rename(columns={"messages": "prompt"})
        rows = of_domain[columns].to_dict("records")
        generator = random.Random(f"{seed}-{domain}")
        passes = math.ceil(math.ceil(needed / len(domains)) / len(rows))
        streams[domain] = [row for _ in range(passes) for row in generator.sample(rows, len(rows))]
    return [
        streams[domains[index % len(domains)]][index // len(domains)] for index in range(needed)
    ]


class Advantage:
    """The reward function for TRL: computes advantages and logs the rewards they are made of."""

    def __init__(self, job: PolicyJob, vector: Any, anchors: Any) -> None:
        self.params, self.vector, self.anchors = job.params, vector, anchors
        self.aggregate = plugins.function("concord.policies.advantages", job.params.aggregation)
        self.weights = {
            domain: domain_weights(
                job.params.weights, job.objectives, domain, f"{job.where}.weights"
            )
            for domain in {job.objectives[name].domain for name in vector.names}
        }
        self.__name__ = "advantage"

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        domain: Sequence[str],
        reference: Sequence[str | None],
        log_metric: Any = None,
        **_: Any,
    ) -> list[float]:
        """One advantage per completion; prompts and completions are lists of messages."""
        responses = [completion[0]["content"] for completion in completions]
        raw = self.vector.score(prompts, responses, domain, reference)
        anchored = self.anchors.normalise(raw, self.vector.names)
        weights = self.row_weights(domain)
        if log_metric is not None:
            self._log(log_metric, raw, anchored, weights)
        advantages = self.aggregate(anchored, weights, self.params.generations)
        return [float(advantage) for advantage in advantages]

    def row_weights(self, domains: Sequence[str]) -> np.ndarray:
        """Weights `(rows, objectives)` for the domain of each row."""
        import numpy as np

        rows = [
            [self.weights[domain].get(name, 0.0) for name in self.vector.names]
            for domain in domains
        ]
        return np.array(rows)

    def _log(
        self, log_metric: Any, raw: np.ndarray, anchored: np.ndarray, weights: np.ndarray
    ) -> None:
        import numpy as np

        for column, name in enumerate(self.vector.names):
            present = ~np.isnan(raw[:, column])
            if present.any():
                log_metric(f"raw.{name}", float(raw[present, column].mean()))
                log_metric(f"anchored.{name}", float(anchored[present, column].mean()))
                log_metric(f"weighted.{name}", float((weights * anchored)[present, column].mean()))


def build(
    job: PolicyJob, model: Any, tokenizer: Any, advantage: Advantage, prompts: Any, work: Path
) -> Any:
    """TRL's trainer for `job`."""
    # TRL warns that `rollout_func` is experimental. The pinned version supports it.
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    from datasets import Dataset  # type: ignore[import-untyped]
    from transformers import PrinterCallback
    from trl.trainer.grpo_trainer import GRPOTrainer

    trainer = GRPOTrainer(
        model=model,
        reward_funcs=[cast(Any, advantage)],
        args=_trainer_config(job, work, model.device.type == "cpu"),
        train_dataset=Dataset.from_list(prompts),
        processing_class=tokenizer,
        rollout_func=_sampler(job, tokenizer),
        callbacks=[_checkpoint_callback(job.name)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _trainer_config(job: PolicyJob, work: Path, on_cpu: bool) -> Any:
    """TRL's config. TRL must not rescale the advantages.

    Every step draws new samples, so that a resumed training equals an uninterrupted one.
    """
    from trl.trainer.grpo_config import GRPOConfig

    params: GrpoParams = job.params
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
        shuffle_dataset=False,
        learning_rate=params.learning_rate,
        warmup_steps=round(params.warmup_share * params.steps),
        max_grad_norm=params.max_grad_norm,
        save_steps=params.checkpoint_every,
        save_total_limit=2,
        logging_steps=1,
        seed=job.seeds.sampling,
        report_to="none",
        disable_tqdm=True,
        use_cpu=on_cpu,
        bf16=False,
        activation_checkpointing=False,
        dataloader_pin_memory=not on_cpu,
        gradient_accumulation_steps=params.prompts_per_step // params.micro,
    )


def _sampler(job: PolicyJob, tokenizer: Any) -> Any:
    """TRL's rollout function.

    The samples of a step depend only on the seed, the step and the model, so a resumed training
    draws the same samples as an uninterrupted one.
    """
    from trl.models.utils import unwrap_model_for_generation

    from concord.lm.sample import sample_ids

    accumulation = job.params.prompts_per_step // job.params.micro

    def rollout(prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        ids = [render(tokenizer, prompt) for prompt in prompts]
        micro_step = trainer.state.global_step * accumulation + trainer._step % accumulation
        seed = (job.seeds.sampling << 32) + micro_step
        with unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator) as model:
            completions = sample_ids(
                model,
                tokenizer,
                ids,
                max_new_tokens=job.params.max_new_tokens,
                temperature=job.params.temperature,
                seed=seed,
                label=None,
            )
        return {"prompt_ids": ids, "completion_ids": completions, "logprobs": None}

    return rollout


def _checkpoint_callback(name: str) -> Any:
    """Marks checkpoints as complete and reports progress."""
    from transformers import TrainerCallback

    class CheckpointCallback(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            resume.mark_complete(Path(args.output_dir), state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            Reporter(state.max_steps, f"policy {name}")(state.global_step)

    return CheckpointCallback()


def write_curve(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """Writes the training curve as CSV, one row per step.

    The columns are loss, KL, entropy, gradient norm, learning rate, mean length, the standard
    deviation of the reward, and the raw, anchored and weighted reward of each objective.
    """
    columns = (
        "loss",
        "kl",
        "entropy",
        "grad_norm",
        "learning_rate",
        "completions/mean_length",
        "reward_std",
    )
    rows = [entry for entry in history if "loss" in entry]
    rewards = sorted(
        {
            name
            for row in rows
            for name in row
            if name.split(".")[0] in ("raw", "anchored", "weighted")
        }
    )
    with outputs.file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(
            file, ["step", *columns, *rewards], extrasaction="ignore", lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(
            {
                name: float(f"{value:.6g}") if isinstance(value, float) else value
                for name, value in row.items()
            }
            for row in rows
        )


METHOD = Method(GrpoParams, heads=False, pairs=False)
