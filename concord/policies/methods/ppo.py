"""PPO (arXiv 1707.06347) with a vector critic: one value head per objective.

The critic predicts the anchored reward of each objective at every token. Each objective therefore
has its own advantages (`concord.policies.ppo.gae`), which the weights of the prompt's domain
combine. `concord.policies.ppo.ppo_trainer` has the training loop. TRL no longer ships PPO.

Writes a stock checkpoint of the SFT model's class. The critic is not part of it.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.lm.load import load_causal, load_tokenizer
from concord.lm.lora import Lora, attach, merge
from concord.lm.precision import autocast
from concord.policies.job import Method, PolicyJob, save
from concord.policies.ppo.ppo_settings import PpoSettings
from concord.policies.rl.online import prompts_of
from concord.policies.rl.scorers import inputs_of, save_anchors, scorers
from concord.policies.step_rewards import Form
from concord.stage import outputs, resume, runtime
from concord.stage.params import FORBID
from concord.stage.paths import SFT


@dataclass(frozen=True, config=FORBID, kw_only=True)
class PpoParams(PpoSettings):
    """Settings of sampling and optimisation. The policy is sampled at temperature 1."""

    method: Literal["ppo"]
    weights: dict[str, float]
    """Weight of each objective's advantages, normalised to sum to 1 within a domain. Missing
    objectives get weight 0."""
    prompts_per_step: Annotated[int, Field(ge=1)]
    """Prompts per step, balanced over domains."""
    generations: Annotated[int, Field(ge=1)]
    """Samples per prompt."""
    process_rewards: dict[str, Form] = Field(default_factory=dict)
    """Objective -> what its steps earn, `mean` or `difference` (concord/policies/step_rewards.py).
    These objectives are scored by the process reward model instead of their verifier or reward
    model, and give a reward at the end of each step."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 96
    """Longest sample, in tokens. Samples that do not end by then are not learned from."""
    lora: Lora | None = None
    """Trains low-rank adapters instead of all weights, of the policy and of the critic; those of
    the policy are merged after training."""

    def __post_init__(self) -> None:
        answers = self.prompts_per_step * self.generations
        if self.minibatches > answers:
            raise ValueError(
                f"`minibatches` is {self.minibatches}, but a step has only {answers} answers, so "
                "some minibatches would be empty; lower it, or raise `generations`"
            )
        if self.lora is not None and self.lora.dropout:
            raise ValueError(
                f"`lora.dropout` is {self.lora.dropout}, but PPO compares probabilities before and "
                "after an update, and dropout would change both at random; set it to 0"
            )


def run(job: PolicyJob) -> None:
    """Trains the policy and saves it as a stock checkpoint."""
    from concord.policies.ppo.collect import Collector
    from concord.policies.ppo.critic import Critic
    from concord.policies.ppo.ppo_trainer import PpoTrainer

    device, params = runtime.start(job.runtime, job.seeds.sampling), job.params
    tokenizer = load_tokenizer(SFT)
    policy, critic = (load_causal(SFT, device) for _ in range(2))
    reference = load_causal(SFT, device, job.runtime.dtype) if params.beta else None
    if params.lora is not None:
        attach(policy, params.lora, job.seeds.sampling)
        attach(critic.base_model, params.lora, job.seeds.sampling)
    vector, anchors = scorers(job, device)
    collect = Collector(job, policy, tokenizer, vector, anchors, prompts_of(job))
    trainer = PpoTrainer(
        policy,
        reference,
        Critic(critic.base_model, len(job.vector) + (params.beta > 0)),
        params,
        job.vector,
        collect,
        pad=tokenizer.pad_token_id,
        seed=job.seeds.sampling,
        work=resume.folder(job.stage, job, inputs_of(job), __file__),
        report_to=job.runtime.report_to,
    )
    with autocast(device, job.runtime.dtype):
        trainer.train(f"policy {job.name}")
    write_curve(job.curve, trainer.history)
    if params.lora is not None:
        merge(policy)
    save(policy, job)
    save_anchors(job, anchors)
    if trainer.work is not None:
        shutil.rmtree(trainer.work, ignore_errors=True)


def write_curve(path: Path, history: Sequence[dict[str, float]]) -> None:
    """Writes the training curve as CSV, one row per step.

    The columns are the loss of the policy, KL from the SFT model and entropy in nats (per answer
    and per token), mean length in tokens, the share of unfinished answers, the share of tokens that
    the clip stops, and per objective the value loss, the explained variance of the critic, and the
    raw, anchored and weighted reward. A value that is undefined is empty.
    """
    first = ["step", "loss", "kl", "entropy", "clip_share", "learning_rate"]
    rest = sorted({name for row in history for name in row} - set(first))
    with outputs.file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*first, *rest], lineterminator="\n")
        writer.writeheader()
        for row in history:
            values = {name: float(f"{value:.6g}") for name, value in row.items() if value == value}
            writer.writerow({**values, "step": row["step"]})


METHOD = Method(PpoParams, heads=False, pairs=False)
