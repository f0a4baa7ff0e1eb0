"""Evaluate one policy on the locked protocol: at equal and default weights, and over a sweep of each weight.

models/policies/<name>, models/sft, models/rewards, models/anchors.json, data/prepared/{prompts,ratings}
-> reports/policies/<name>.json, reports/samples/<name>.parquet

    python -m tasks.evaluate mah_dpo

Protocol `sandbox`: answers to prompts of the locked world, judged by gold; on validation prompts of the world that
models were tuned on, by proxies alone. Protocol `likelihood`: which of two human-labelled answers of held-out
questions is likelier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.objectives import check_weights, domain_weights, objectives_of
from concord.stage import outputs, runtime
from concord.stage.errors import command
from concord.stage.params import FORBID, Runtime, Seeds, load, read
from concord.stage.paths import ANCHORS, POLICIES, PREPARED, REPORTS, SAMPLES, SFT
from concord.stage.progress import track

if TYPE_CHECKING:
    import pandas as pd

    from concord.evaluation.policies.protocol import Point
    from concord.steering.steered import Steered


@dataclass(frozen=True, config=FORBID)
class EvaluateParams:
    """The section `evaluate`."""

    protocol: Literal["sandbox", "likelihood"]
    """How policies are judged: by gold on the locked world, or by the likelihood of human-labelled answers."""
    weights: dict[str, float]
    """objective -> weight of the `default` operating point; made to sum to 1 within each domain."""
    prompts: Annotated[int, Field(gt=0)]
    """Held-out prompts per domain (likelihood: groups of prompts)."""
    validation_prompts: Annotated[int, Field(gt=0)]
    """The same on validation, where the weights are chosen."""
    sweep: Annotated[int, Field(ge=2)]
    """Values from 0 to 1 of each objective's own weight, for policies that can be steered."""
    bootstrap: Annotated[int, Field(gt=0)]
    """Resamples of each interval."""
    locked_seed: Annotated[int, Field(ge=0)]
    """Seed of the locked world's prompts."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of the answers; KL is measured between the models as they are, so only 1 makes it the KL of what was sampled."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 96
    """Longest answer, in tokens."""
    kl_prompts: Annotated[int, Field(gt=0)] = 100
    """Answers of each point on which KL is measured (likelihood: all of them)."""
    batch_size: Annotated[int, Field(gt=0)] = 100
    """Answers drawn or scored at once; changes no figure."""
    turns: Annotated[int, Field(gt=0)] = 3
    """Turns of the tutor when a dialogue is rolled on with the simulated student."""


@dataclass(frozen=True, config=FORBID)
class EvaluateJob:
    """All that an evaluation depends on besides its inputs."""

    policy: str
    params: EvaluateParams
    settings: Runtime
    seeds: Seeds
    max_length: int


class Judged(NamedTuple):
    """What a protocol yields."""

    samples: pd.DataFrame
    """What was asked and answered, kept beside the report."""
    held_out: pd.DataFrame
    """Units that claims are measured on."""
    validation: pd.DataFrame
    """Units that choices may look at."""
    extra: dict[str, Any]
    """Entries of the report that only this protocol has."""


def run(job: EvaluateJob, everything: Mapping[str, Any]) -> None:
    """Evaluates the policy and writes its report and its samples."""
    known = objectives_of(everything)
    check_weights(job.params.weights, known, "evaluate.weights")
    device = runtime.start(job.settings, job.seeds.sampling)
    steered = _steered(job, device)
    judge = _sandbox if job.params.protocol == "sandbox" else _likelihood
    judged = judge(job, everything, steered, _members(everything, steered.heads), device)

    from concord.evaluation.policies.summary import policy_report

    names = _members(everything, steered.heads, set(judged.held_out["domain"]))
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
    from concord.lm.load import load_causal, load_tokenizer
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


def _members(
    everything: Mapping[str, Any], heads: Sequence[str] | None, domains: set[str] | None = None
) -> dict[str, list[str]]:
    """Domain -> the objectives evaluated in it: those of the vector, in a multi-head policy those with a head."""
    from concord.evaluation.policies.protocol import by_domain

    known = objectives_of(everything).items()
    chosen = {
        name: o.domain for name, o in known if o.in_vector and (heads is None or name in heads)
    }
    return by_domain(
        {name: domain for name, domain in chosen.items() if domains is None or domain in domains}
    )


def _points(
    job: EvaluateJob, everything: Mapping[str, Any], names: Mapping[str, Sequence[str]], heads: Any
) -> list[Point]:
    """Every operating point; a policy with one head has only one, since weights move nothing in it."""
    from concord.evaluation.policies.protocol import EQUAL, operating_points

    known = objectives_of(everything)
    points = []
    for domain, members in names.items():
        own = {name: job.params.weights.get(name, 0.0) for name in members}
        default = domain_weights(
            own, {name: known[name] for name in members}, domain, "evaluate.weights"
        )
        points += operating_points(domain, members, default, job.params.sweep)
    return points if heads else [point for point in points if point.name == EQUAL]


def _sandbox(
    job: EvaluateJob,
    everything: Mapping[str, Any],
    steered: Steered,
    names: dict[str, list[str]],
    device: Any,
) -> Judged:
    import pandas as pd

    from concord.evaluation.policies import locked
    from concord.rewards.vector.anchors import Anchors
    from concord.rewards.vector.reward_vector import RewardVector
    from concord.sandbox.world import World

    params, world = job.params, World.build("locked", job.params.locked_seed)
    vector = RewardVector.load(everything, device=device, dtype=job.settings.dtype)
    proxies = locked.Proxies(vector.names, vector, Anchors.load(ANCHORS))
    prompts = locked.prompts(world, list(names), params.prompts, job.seeds.sampling)
    table = outputs.read_table(PREPARED / "prompts/validation.parquet")
    tuned = locked.validation_prompts(table, list(names), params.validation_prompts)
    points = _points(job, everything, names, steered.heads)
    frames: list[pd.DataFrame] = []
    for rows, split, judge in ((prompts, locked.LOCKED, world), (tuned, locked.VALIDATION, None)):
        shown = track(points, len(points), f"weights, {split} prompts")
        answered = [
            locked.answers(steered, rows, point, split, params.kl_prompts) for point in shown
        ]
        frames.append(locked.judged(pd.concat(answered, ignore_index=True), judge, proxies))
    dialogue = {}
    if "tutoring" in names:
        equal = next(point.weights for point in points if point.domain == "tutoring")
        dialogue = locked.dialogues(
            steered, world, prompts, equal, params.turns, job.seeds.sampling
        )
    return Judged(
        pd.concat(frames, ignore_index=True), frames[0], frames[1], {"dialogue": dialogue}
    )


def _likelihood(
    job: EvaluateJob,
    everything: Mapping[str, Any],
    steered: Steered,
    names: dict[str, list[str]],
    device: Any,
) -> Judged:
    import pandas as pd

    from concord.evaluation.policies import likelihood
    from concord.evaluation.policies.protocol import EQUAL

    flat = [name for members in names.values() for name in members]
    points = _points(job, everything, names, steered.heads)
    scored, paired = {}, {}
    baseline: dict[str, float] = {}
    for split, groups in (
        ("test", job.params.prompts),
        ("validation", job.params.validation_prompts),
    ):
        ratings = outputs.read_table(PREPARED / f"ratings/{split}.parquet")
        frames = []
        for domain, members in names.items():
            if not ratings["objective"].isin(members).any():
                continue  # a domain that only rewards are judged on
            answers = likelihood.labelled_answers(ratings, domain, members, groups)
            own = [point for point in points if point.domain == domain]
            frames.append(likelihood.score(steered, answers, own, split))
            if split == "test":
                baseline |= likelihood.longer_is_better(answers, members)
        scored[split] = pd.concat(frames, ignore_index=True)
        paired[split] = likelihood.pairs(scored[split], flat)
    measured = f"pair accuracy of human-labelled answers by log-probability per token, points `{EQUAL}` and sweep"
    extra = {"measure": measured, "length_baseline": baseline}
    return Judged(
        pd.concat(scored.values(), ignore_index=True), paired["test"], paired["validation"], extra
    )


def main(policy: str) -> None:
    """Runs the stage for the policy named on the command line."""
    params, settings = load(EvaluateParams, "evaluate"), load(Runtime, "runtime")
    run(
        EvaluateJob(
            policy, params, settings, load(Seeds, "seeds"), load(int, "model", "max_length")
        ),
        read(),
    )


if __name__ == "__main__":
    command(main)
