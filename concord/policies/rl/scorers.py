"""What scores the answers of a policy that learns from its own samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from concord.policies.job import ROLLOUTS, PolicyJob
from concord.rewards.outcome.reward_model import load
from concord.rewards.vector.anchors import Anchors
from concord.rewards.vector.reward_vector import RewardVector
from concord.stage import outputs
from concord.stage.paths import ANCHORS, PROCESS_REWARD, REWARDS, SFT

PROCESS_ANCHORS = "process_anchors.json"
"""File in the folder of a policy with the anchors of its process rewards."""


def scorers(job: PolicyJob, device: Any) -> tuple[RewardVector, Anchors]:
    """The reward vector of the job and its anchors.

    Objectives in `process_rewards` are scored by the process reward model, and the others by the
    verifier or reward model that they name.
    """
    from concord.policies.process_vector import ProcessVector
    from concord.rewards.process.process_model import load as load_process

    objectives = {name: job.objectives[name] for name in job.vector}
    forms = job.params.process_rewards
    groups = sorted(
        {str(one.reward) for name, one in objectives.items() if one.reward and name not in forms}
    )
    models = {group: load(REWARDS / group, device, job.runtime.dtype) for group in groups}
    anchors = Anchors.load(ANCHORS)
    if not forms:
        return RewardVector(objectives, models), anchors
    process = load_process(PROCESS_REWARD, device, job.runtime.dtype)
    vector = ProcessVector(objectives, models, process, forms)
    anchors.anchors |= vector.anchors(outputs.read_table(ROLLOUTS)).anchors
    return vector, anchors


def inputs_of(job: PolicyJob) -> list[Path]:
    """The files and folders that a training depends on."""
    process = [PROCESS_REWARD] if job.params.process_rewards else []
    return [SFT, ROLLOUTS, ANCHORS, REWARDS, *process]


def save_anchors(job: PolicyJob, anchors: Anchors) -> None:
    """Writes the anchors of process rewards to the policy's folder, if it has any."""
    if forms := job.params.process_rewards:
        Anchors({name: anchors.anchors[name] for name in forms}).save(job.folder / PROCESS_ANCHORS)
