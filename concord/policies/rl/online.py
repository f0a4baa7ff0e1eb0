"""Trains a policy on its own samples; the methods differ in their model, prompts and loss."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from concord.lm.load import load_causal, load_tokenizer
from concord.lm.lora import attach, merge
from concord.objectives import domain_weights
from concord.policies.job import ROLLOUTS, PolicyJob, save
from concord.policies.moving_weights import WeightTracker
from concord.policies.rl.online_curve import write_curve
from concord.policies.rl.reward_function import RewardFunction
from concord.policies.rl.scorers import inputs_of, save_anchors, scorers
from concord.policies.rl.step_prompts import prompts_in_order
from concord.stage import outputs, resume, runtime
from concord.stage.paths import SFT

if TYPE_CHECKING:
    from concord.policies.rl.split_grpo import LossType


def run_stock(job: PolicyJob, module_file: str, loss: LossType = "dapo") -> None:
    """Trains the SFT model and saves a stock checkpoint; the parameters are `OneHeadParams`.

    `module_file` and `loss` are as in `run`.
    """
    device = runtime.start(job.runtime, job.seeds.sampling)
    model = load_causal(SFT, device)
    if job.params.lora is not None:
        attach(model, job.params.lora, job.seeds.sampling)
    weights = {
        domain: domain_weights(job.params.weights, job.objectives, domain, f"{job.where}.weights")
        for domain in {job.objectives[name].domain for name in job.vector}
    }
    tracker = WeightTracker(weights, job.params.moving_weights)
    run(job, model, prompts_of(job), tracker, module_file, loss)


def run(
    job: PolicyJob,
    model: Any,
    prompts: Sequence[Mapping[str, Any]],
    tracker: WeightTracker,
    module_file: str,
    loss: LossType = "dapo",
    rates: Mapping[str, float] | None = None,
    shared: Sequence[Any] | None = None,
) -> None:
    """Trains `model`, writes the training curve, and saves the policy.

    Args:
        job: the policy to train; its parameters are `OnlineParams`.
        model: the policy before training, with the adapters of `lora` attached.
        prompts: the prompts of all steps, in order.
        tracker: the weights of the rewards, for prompts without weights of their own.
        module_file: `__file__` of the method; its code is part of the key of the checkpoints.
        loss: see `OnlineTrainer`.
        rates: see `OnlineTrainer`.
        shared: see `OnlineTrainer`.
    """
    from concord.policies.rl.online_trainer import OnlineTrainer

    vector, anchors = scorers(job, model.device)
    reward = RewardFunction(job.params, vector, anchors, tracker)
    work = resume.folder(job.stage, job, inputs_of(job), module_file)
    tokenizer = load_tokenizer(SFT)
    trainer = OnlineTrainer(job, model, tokenizer, reward, prompts, work, loss, rates, shared)
    newest = resume.newest(work)
    if newest is not None:
        tracker.load(newest, resume.step_of(newest))
    trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
    write_curve(job.curve, trainer.state.log_history)
    if job.params.lora is not None:
        merge(model)
    save(model, job)
    save_anchors(job, anchors)
    shutil.rmtree(work, ignore_errors=True)


def prompts_of(job: PolicyJob) -> list[dict[str, Any]]:
    """The prompts of all steps of a job, in order."""
    rollouts = outputs.read_table(ROLLOUTS)
    params = job.params
    return prompts_in_order(rollouts, params.prompts_per_step, params.steps, job.seeds.data)
