"""Evaluates the reward models and the process reward model on held-out data.

    models/rewards, models/process_reward, models/sft, data/prepared, reports/timing
    -> reports/rewards/<group>.json, reports/process_reward.json

    python -m tasks.evaluate_rewards

The stage is separate from training, so a new locked seed does not retrain anything.

Protocol `sandbox`: pairs of the locked world, for which the best possible accuracy is known, and
gold labels of every step in answers of the SFT model.

Protocols `likelihood` and `judged`: the test split of the human annotations.

Under each protocol, the comparisons of the checks are scored by every head of their objective.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.lm.load import load_causal, load_tokenizer
from concord.objectives import objectives_of
from concord.rewards.outcome import reward_model as outcome
from concord.sandbox.world import World
from concord.stage import outputs, runtime
from concord.stage.command import command
from concord.stage.finished_parts import kept
from concord.stage.params import FORBID, Runtime, Seeds, load, read
from concord.stage.paths import PREPARED, PROCESS_REWARD, REPORTS, REWARDS, SFT

if TYPE_CHECKING:
    from concord.evaluation.rewards.judged_sets import HeldOut, Locked


INPUTS = (
    PREPARED / "checks.parquet",
    *(PREPARED / name for name in ("rewards", "steps", "ratings/test.parquet")),
    *(SFT, REWARDS, PROCESS_REWARD),
)
"""What is scored, and the models, if the recipe makes them."""
NO_PROCESS_REWARD: dict[str, Any] = {"objectives": {}, "best_of_n": {}}
"""The report without a process reward model."""


@dataclass(frozen=True, config=FORBID)
class EvaluateRewardsParams:
    """The section `evaluate_rewards`."""

    pairs: Annotated[int, Field(gt=0)] = 1500
    """Held-out pairs, and held-out graded answers, per objective."""
    prompts: Annotated[int, Field(gt=0)] = 100
    """Locked prompts per domain whose sampled answers are judged step by step."""
    samples: Annotated[int, Field(ge=2)] = 8
    """N of best-of-N: answers sampled per problem."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Sampling temperature."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 96
    """Maximum length of a sampled answer, in tokens."""
    solution_score: Literal["product", "last"] = "product"
    """The score of an answer for best-of-N: the product of its step scores, or the score after its
    last step. With `process_labels.gamma` below 1, it must be `last`."""


@dataclass(frozen=True, config=FORBID)
class EvaluateRewardsJob:
    """Everything that the evaluation depends on, apart from its input files."""

    params: EvaluateRewardsParams
    protocol: str
    locked_seed: int
    bootstrap: int
    settings: Runtime
    seeds: Seeds


def run(job: EvaluateRewardsJob, all_params: Mapping[str, Any]) -> None:
    """Writes one report per reward model, and one for the process reward model if there is one."""
    names = [list(all_params.get("reward_models", {})), "process_reward" in all_params]
    key = [job, objectives_of(all_params), *names]
    with kept("evaluate_rewards", key, INPUTS, __file__):
        _run(job, all_params)


def _run(job: EvaluateRewardsJob, all_params: Mapping[str, Any]) -> None:
    from concord.evaluation import check_figures
    from concord.evaluation.rewards.candidates import Candidates
    from concord.evaluation.rewards.head_checks import outcome_checks, process_checks
    from concord.evaluation.rewards.outcome_report import outcome_report
    from concord.evaluation.rewards.process_report import process_report
    from concord.rewards.process import process_model as process

    device = runtime.start(job.settings, job.seeds.sampling)
    candidates = Candidates(
        make_judge(job, device), objectives_of(all_params), job.bootstrap, job.seeds.data
    )
    checks = check_figures.read_pairs()
    with outputs.directory(REPORTS / "rewards") as folder:
        for group in all_params.get("reward_models", {}):
            model = outcome.load(REWARDS / f"{group}", device, job.settings.dtype)
            report = outcome_report(group, model, candidates, job.params.pairs)
            for name in model.objectives:
                report[name]["checks"] = outcome_checks(model, name, checks)
            outputs.write_json(folder / f"{group}.json", report)
    report = NO_PROCESS_REWARD
    if "process_reward" in all_params:
        process_model = process.load(PROCESS_REWARD, device, job.settings.dtype)
        rule = job.params.solution_score
        report = process_report(process_model, candidates, rule)
        report["checks"] = process_checks(process_model, candidates.objectives, checks, rule)
    outputs.write_json(REPORTS / "process_reward.json", report)


def make_judge(job: EvaluateRewardsJob, device: Any) -> Locked | HeldOut:
    """The held-out data of the protocol."""
    from concord.evaluation.rewards.judged_sets import HeldOut, Locked
    from concord.lm.sample import sample

    if job.protocol != "sandbox":
        return HeldOut()
    sample_answers = partial(
        sample,
        load_causal(SFT, device, job.settings.dtype),
        load_tokenizer(SFT),
        max_new_tokens=job.params.max_new_tokens,
        temperature=job.params.temperature,
        seed=job.seeds.sampling,
    )
    world = World.build("locked", job.locked_seed)
    return Locked(world, job.seeds.sampling, job.params.prompts, job.params.samples, sample_answers)


def main() -> None:
    """Runs the stage."""
    protocol, locked_seed = load(str, "evaluate", "protocol"), load(int, "evaluate", "locked_seed")
    bootstrap, seeds = load(int, "evaluate", "bootstrap"), load(Seeds, "seeds")
    job = EvaluateRewardsJob(
        load(EvaluateRewardsParams, "evaluate_rewards"),
        protocol,
        locked_seed,
        bootstrap,
        load(Runtime, "runtime"),
        seeds,
    )
    run(job, read())


if __name__ == "__main__":
    command(main)
