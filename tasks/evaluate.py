"""Evaluates one policy at equal weights, at default weights, and over a sweep of each weight.

    models/policies/<name>, models/sft, models/rewards, models/anchors.json,
    data/prepared/{prompts,ratings}
    -> reports/policies/<name>.json, reports/samples/<name>.parquet

    python -m tasks.evaluate mah_dpo

Protocol `sandbox`: the policy answers prompts of the locked world, and gold rewards judge the
answers. Answers to validation prompts are judged only by the proxies, the trained reward models.

Protocol `likelihood`: of two human-labelled answers to a held-out question, the policy should give
the better one the higher likelihood.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.evaluation.policies.protocol import Judged, all_points, evaluated_objectives
from concord.lm.load import load_causal, load_tokenizer
from concord.objectives import check_weights, objectives_of
from concord.rewards.vector.reward_vector import RewardVector
from concord.sandbox.world import World
from concord.stage import outputs, runtime
from concord.stage.errors import command
from concord.stage.params import FORBID, Runtime, Seeds, load, read
from concord.stage.paths import ANCHORS, POLICIES, PREPARED, REPORTS, SAMPLES, SFT

if TYPE_CHECKING:
    from concord.evaluation.policies.protocol import Point
    from concord.steering.steered import Steered


@dataclass(frozen=True, config=FORBID)
class EvaluateParams:
    """The section `evaluate`."""

    protocol: Literal["sandbox", "likelihood"]
    """`sandbox`: gold rewards of answers to locked prompts. `likelihood`: the likelihood of
    human-labelled answers."""
    weights: dict[str, float]
    """Objective -> weight at the operating point `default`. Normalised to sum 1 within each
    domain."""
    prompts: Annotated[int, Field(gt=0)]
    """Held-out prompts per domain; with `likelihood`, groups of prompts."""
    validation_prompts: Annotated[int, Field(gt=0)]
    """Validation prompts per domain. The stage `select` uses them to choose the weights."""
    sweep: Annotated[int, Field(ge=2)]
    """Number of values from 0 to 1 for the weight of each objective. Only for steerable
    policies."""
    bootstrap: Annotated[int, Field(gt=0)]
    """Bootstrap resamples per confidence interval."""
    locked_seed: Annotated[int, Field(ge=0)]
    """Seed of the prompts of the locked world."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Sampling temperature. KL is measured at temperature 1, so it describes the sampled answers
    only if this is 1."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 96
    """Maximum length of an answer, in tokens."""
    kl_prompts: Annotated[int, Field(gt=0)] = 100
    """Answers per operating point on which KL is measured; with `likelihood`, all answers."""
    batch_size: Annotated[int, Field(gt=0)] = 100
    """Answers sampled or scored at once. It does not change the results."""
    turns: Annotated[int, Field(gt=0)] = 3
    """Tutor turns in a dialogue with the simulated student."""


@dataclass(frozen=True, config=FORBID)
class EvaluateJob:
    """Everything that an evaluation depends on, apart from its input files."""

    policy: str
    params: EvaluateParams
    settings: Runtime
    seeds: Seeds
    max_length: int


def run(job: EvaluateJob, all_params: Mapping[str, Any]) -> None:
    """Evaluates the policy and writes its report and its samples."""
    from concord.evaluation.policies.summary import policy_report

    objectives = objectives_of(all_params)
    check_weights(job.params.weights, objectives, "evaluate.weights")
    device = runtime.start(job.settings, job.seeds.sampling)
    steered = _steered(job, device)
    names = evaluated_objectives(objectives, steered.heads)
    points = all_points(
        names, objectives, job.params.weights, job.params.sweep, bool(steered.heads)
    )
    if job.params.protocol == "sandbox":
        judged = _sandbox(job, all_params, steered, points, device)
    else:
        judged = _likelihood(job, steered, names, points)
    names = evaluated_objectives(objectives, steered.heads, set(judged.held_out["domain"]))
    sweep = job.params.sweep if steered.heads else 0
    report = policy_report(
        judged.held_out, judged.validation, names, sweep, job.params.bootstrap, job.seeds.data
    )
    head = {
        "policy": job.policy,
        "protocol": job.params.protocol,
        "steerable": steered.heads is not None,
        "prompts": judged.held_out.groupby("domain")["prompt_id"].nunique().to_dict(),
        "seeds": {
            "data": job.seeds.data,
            "sampling": job.seeds.sampling,
            "locked": job.params.locked_seed,
        },
    }
    outputs.write_table(SAMPLES / f"{job.policy}.parquet", judged.samples)
    outputs.write_json(REPORTS / f"policies/{job.policy}.json", {**head, **report, **judged.extra})


def _steered(job: EvaluateJob, device: Any) -> Steered:
    from concord.policies.model import load as load_policy
    from concord.steering.steered import Sampling, Steered

    params, path = job.params, POLICIES / job.policy
    sampling = Sampling(
        max_new_tokens=params.max_new_tokens,
        temperature=params.temperature,
        batch_size=params.batch_size,
        max_length=job.max_length,
        seed=job.seeds.sampling,
    )
    policy = load_policy(path, device, job.settings.dtype)
    return Steered(
        policy, load_causal(SFT, device, job.settings.dtype), load_tokenizer(path), sampling
    )


def _sandbox(
    job: EvaluateJob,
    all_params: Mapping[str, Any],
    steered: Steered,
    points: Sequence[Point],
    device: Any,
) -> Judged:
    """The protocol `sandbox`."""
    import pandas as pd

    from concord.evaluation.policies import locked
    from concord.rewards.vector.anchors import Anchors

    params, world = job.params, World.build("locked", job.params.locked_seed)
    domains = list(dict.fromkeys(point.domain for point in points))
    vector = RewardVector.load(all_params, device=device, dtype=job.settings.dtype)
    proxies = locked.Proxies(vector.names, vector, Anchors.load(ANCHORS))
    prompts = locked.prompts(world, domains, params.prompts, job.seeds.sampling)
    table = outputs.read_table(PREPARED / "prompts/validation.parquet")
    validation_prompts = locked.validation_prompts(table, domains, params.validation_prompts)
    held_out, validation = (
        locked.judged_answers(steered, rows, points, split, params.kl_prompts, judge, proxies)
        for rows, split, judge in (
            (prompts, locked.LOCKED, world),
            (validation_prompts, locked.VALIDATION, None),
        )
    )
    dialogue = {}
    if "tutoring" in domains:
        equal = next(point.weights for point in points if point.domain == "tutoring")
        dialogue = locked.dialogues(
            steered, world, prompts, equal, params.turns, job.seeds.sampling
        )
    samples = pd.concat([held_out, validation], ignore_index=True)
    return Judged(samples, held_out, validation, {"dialogue": dialogue})


def _likelihood(
    job: EvaluateJob,
    steered: Steered,
    names: Mapping[str, Sequence[str]],
    points: Sequence[Point],
) -> Judged:
    """The protocol `likelihood`."""
    from concord.evaluation.policies import likelihood

    groups = {"test": job.params.prompts, "validation": job.params.validation_prompts}
    ratings = {split: outputs.read_table(PREPARED / f"ratings/{split}.parquet") for split in groups}
    return likelihood.judge(steered, ratings, groups, names, points)


def main(policy: str) -> None:
    """Runs the stage for one policy."""
    job = EvaluateJob(
        policy,
        load(EvaluateParams, "evaluate"),
        load(Runtime, "runtime"),
        load(Seeds, "seeds"),
        load(int, "model", "max_length"),
    )
    run(job, read())


if __name__ == "__main__":
    command(main)
