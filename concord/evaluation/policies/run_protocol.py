"""Evaluates a policy at given points, by one of three protocols.

Protocol `sandbox`: the policy answers prompts of the locked world, and gold rewards judge the
answers. Answers to validation prompts are judged only by the proxies, the trained reward models.

Protocol `likelihood`: of two human-labelled answers to a held-out question, the policy should give
the better one the higher likelihood. Ratings, rankings and comparisons say which one is better.

Protocol `judged`: the policy answers held-out prompts of the annotations, and a judge that was
fitted to people's labels of other held-out questions rates the answers; see
`concord.evaluation.policies.judged`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.evaluation.policies.judge_params import JudgeParams
from concord.evaluation.policies.protocol import DEFAULT, EQUAL, Judged, by_domain
from concord.lm.load import load_causal, load_tokenizer
from concord.objectives import objectives_of
from concord.rewards.vector.reward_vector import RewardVector
from concord.sandbox.world import World
from concord.stage import outputs
from concord.stage.params import FORBID, Runtime, Seeds
from concord.stage.paths import ANCHORS, PREPARED, REWARDS, SFT

if TYPE_CHECKING:
    import pandas as pd

    from concord.evaluation.policies.protocol import Point
    from concord.steering.steered import Steered


SAME_AS_SFT = 1e-3
"""A policy is the SFT model if no answer has a larger KL, or log-ratio, in nats."""
INPUTS = (
    PREPARED / "checks.parquet",
    *(PREPARED / name for name in ("prompts", "ratings", "pairs")),
    *(SFT, REWARDS, ANCHORS),
)
"""What a protocol may read besides the policy, if the recipe makes it."""


@dataclass(frozen=True, config=FORBID)
class EvaluateParams:
    """The section `evaluate`."""

    protocol: Literal["sandbox", "likelihood", "judged"]
    """`sandbox`: gold rewards of answers to locked prompts. `likelihood`: the likelihood of
    human-labelled answers. `judged`: ratings that a judge predicts for answers to held-out
    prompts."""
    weights: dict[str, float]
    """Objective -> weight at the operating point `default`. Normalised to sum 1 within each
    domain."""
    prompts: Annotated[int, Field(gt=0)] = 100
    """Held-out prompts per domain; with `likelihood`, groups of prompts."""
    validation_prompts: Annotated[int, Field(gt=0)] = 40
    """Validation prompts per domain, for the stage `select`."""
    sweep: Annotated[int, Field(ge=2)] = 5
    """Number of values from 0 to 1 for the weight of each objective. Only for steerable
    policies."""
    bootstrap: Annotated[int, Field(gt=0)] = 1000
    """Bootstrap resamples per confidence interval."""
    locked_seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the prompts of the locked world."""
    validation_samples: Annotated[int, Field(gt=0)] = 1
    """Answers per validation prompt and point; with `likelihood` it has no effect."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Sampling temperature. KL is that of the distributions at temperature 1, on the sampled
    answers; it is unbiased only if this is 1."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 96
    """Maximum length of an answer, in tokens."""
    batch_size: Annotated[int, Field(gt=0)] = 100
    """Answers sampled or scored at once. It does not change the results."""
    turns: Annotated[int, Field(gt=0)] = 3
    """Tutor turns in a dialogue with the simulated student."""
    scales: list[Annotated[float, Field(gt=0, lt=1)]] = Field(default_factory=list)
    """Where each policy is also measured between SFT (0) and what was trained (1), at the weights
    `default`, so that policies can be compared at equal KL; see `concord.lm.interpolate`. Only for
    `sandbox`. Each value costs as much as one point."""
    judge: JudgeParams | None = None
    """The judge of the protocol `judged`; null: its defaults."""

    def __post_init__(self) -> None:
        if self.judge is not None and self.protocol != "judged":
            raise ValueError(
                f"`judge` describes the judge of the protocol `judged`, and `protocol` is "
                f"`{self.protocol}`; remove `judge`, or use `protocol: judged`"
            )
        if self.scales and self.protocol != "sandbox":
            raise ValueError(
                f"`scales` is {self.scales}, and the protocol `{self.protocol}` does not compare "
                "answers at equal KL; remove it"
            )
        if self.scales != sorted(set(self.scales)):
            raise ValueError(f"`scales` is {self.scales}; give each value once, in ascending order")

    @property
    def judging(self) -> JudgeParams:
        """The judge, if the protocol is `judged`."""
        return self.judge or JudgeParams()


@dataclass(frozen=True, config=FORBID)
class EvaluateJob:
    """Everything that an evaluation depends on, apart from its input files."""

    params: EvaluateParams
    settings: Runtime
    seeds: Seeds
    max_length: int

    def conditions(self) -> dict[str, Any]:
        """What two evaluations must have in common to be compared, apart from their prompts."""
        names = ("protocol", "temperature", "max_new_tokens", "locked_seed")
        entries = asdict(self.params)
        judge = {"judge": asdict(self.params.judging)} if self.params.protocol == "judged" else {}
        common = {name: entries[name] for name in names} | {"sampling_seed": self.seeds.sampling}
        return common | judge


def steered(job: EvaluateJob, path: Path, device: Any) -> Steered:
    """The policy in `path`, of several heads or one, with the SFT model as its reference."""
    from concord.policies.steerable import load as load_policy
    from concord.steering.steered import Sampling, Steered

    sampling = Sampling(
        max_new_tokens=job.params.max_new_tokens,
        temperature=job.params.temperature,
        batch_size=job.params.batch_size,
        max_length=job.max_length,
        seed=job.seeds.sampling,
    )
    policy = load_policy(path, device, job.settings.dtype)
    reference = load_causal(SFT, device, job.settings.dtype)
    return Steered(policy, reference, load_tokenizer(path), sampling)


def judge(
    job: EvaluateJob,
    policy: Steered,
    points: Mapping[str, Sequence[Point]],
    all_params: Mapping[str, Any],
    device: Any,
    scales: Sequence[float] = (),
) -> Judged:
    """The answers of the policy at all points, judged by the protocol.

    Args:
        job: the settings.
        policy: the policy, from `steered`.
        points: `held_out` and, unless nothing is chosen on validation, `validation` -> the
            operating points.
        all_params: the whole params.yaml.
        device: where models run.
        scales: where the policy is also judged between SFT and what was trained; for `sandbox`.
    """
    if job.params.protocol == "likelihood":
        return _likelihood(job, policy, points)
    if job.params.protocol == "judged":
        return _judged(job, policy, points, all_params, device)
    return _sandbox(job, policy, points, all_params, device, scales)


def _sandbox(
    job: EvaluateJob,
    policy: Steered,
    points: Mapping[str, Sequence[Point]],
    all_params: Mapping[str, Any],
    device: Any,
    scales: Sequence[float],
) -> Judged:
    import pandas as pd

    from concord.evaluation.policies import locked
    from concord.rewards.vector.anchors import Anchors

    params, world = job.params, World.build("locked", job.params.locked_seed)
    domains = list(dict.fromkeys(point.domain for point in points["held_out"]))
    vector = RewardVector.load(all_params, device=device, dtype=job.settings.dtype)
    proxies = locked.Proxies(vector.names, vector, Anchors.load(ANCHORS))
    prompts = locked.prompts(world, domains, params.prompts, job.seeds.sampling)
    held_out = locked.judged_answers(
        policy, prompts, points["held_out"], locked.LOCKED, world, proxies
    )
    differs = bool((held_out["kl"].abs() > SAME_AS_SFT).any())
    scaled = _towards_sft(
        scales if differs else (), policy, prompts, points["held_out"], world, proxies
    )
    validation = held_out.iloc[:0]
    if "validation" in points:
        table = outputs.read_table(PREPARED / "prompts/validation.parquet")
        rows = locked.validation_prompts(
            table, domains, params.validation_prompts, params.validation_samples
        )
        validation = locked.judged_answers(
            policy,
            rows,
            points["validation"],
            locked.VALIDATION,
            None,
            proxies,
        )
    dialogue = {}
    if "tutoring" in domains:
        first = next(point.weights for point in points["held_out"] if point.domain == "tutoring")
        dialogue = locked.dialogues(policy, world, prompts, first, params.turns, job.seeds.sampling)
    samples = pd.concat([held_out, validation], ignore_index=True)
    return Judged(samples, held_out, validation, {"dialogue": dialogue}, scaled)


def _towards_sft(
    scales: Sequence[float],
    policy: Steered,
    prompts: pd.DataFrame,
    points: Sequence[Point],
    world: World,
    proxies: Any,
) -> pd.DataFrame | None:
    """The answers at the weights `default`, at each scale; None without scales.

    A domain in which `default` has the weights of `equal` has only the point `equal`.
    """
    import pandas as pd

    from concord.evaluation.policies import locked

    by_domain = {point.domain: point for point in points if point.name == EQUAL}
    by_domain |= {point.domain: point for point in points if point.name == DEFAULT}
    chosen = list(by_domain.values())
    tables = [
        locked.judged_answers(policy, prompts, chosen, locked.LOCKED, world, proxies, scale).assign(
            scale=scale
        )
        for scale in scales
    ]
    return pd.concat(tables, ignore_index=True) if tables else None


def _likelihood(
    job: EvaluateJob,
    policy: Steered,
    points: Mapping[str, Sequence[Point]],
) -> Judged:
    from concord.evaluation.policies import likelihood

    splits = {"held_out": "test", "validation": "validation"}
    groups = {"test": job.params.prompts, "validation": job.params.validation_prompts}
    by_split = {splits[name]: values for name, values in points.items()}
    labels = {split: likelihood.labels_of(split) for split in by_split}
    names = by_domain(
        {name: point.domain for point in points["held_out"] for name in point.weights}
    )
    return likelihood.judge(policy, labels, groups, names, by_split)


def _judged(
    job: EvaluateJob,
    policy: Steered,
    points: Mapping[str, Sequence[Point]],
    all_params: Mapping[str, Any],
    device: Any,
) -> Judged:
    from concord.evaluation.policies import answer_judge, judged, likelihood, locked, named_judges
    from concord.rewards.vector.anchors import Anchors

    params = job.params
    objectives = {name: point.domain for point in points["held_out"] for name in point.weights}
    vector = RewardVector.load(all_params, device=device, dtype=job.settings.dtype)
    prompts, validation = (
        outputs.read_table(PREPARED / f"prompts/{split}.parquet")
        for split in ("test", "validation")
    )
    settings = judged.JudgedSettings(
        judge=params.judging,
        prompts=params.prompts,
        validation_prompts=params.validation_prompts,
        validation_samples=params.validation_samples,
        max_new_tokens=params.max_new_tokens,
        bootstrap=params.bootstrap,
        seed=job.seeds.data,
    )
    return judged.judge(
        policy,
        judged.JudgedData(prompts, likelihood.labels_of("test"), validation),
        objectives_of(all_params),
        by_domain(objectives),
        points,
        settings,
        answer_judge.embeddings(params.judging.embeddings),
        locked.Proxies(vector.names, vector, Anchors.load(ANCHORS)),
        named_judges.load(params.judging.judges, device, job.settings.dtype),
    )
