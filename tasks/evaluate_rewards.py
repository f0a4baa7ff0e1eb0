"""Evaluate every reward model and the process reward model on what they have not seen.

models/rewards, models/process_reward, models/sft, data/prepared, reports/timing
-> reports/rewards/<group>.json, reports/process_reward.json

    python -m tasks.evaluate_rewards

A stage of its own, so that another locked seed retrains nothing. Protocol `sandbox`: pairs of the locked world, whose
ceiling is known, and gold of every step of the SFT model's answers. Protocol `likelihood`: the test split of people's
annotations.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.stage import outputs, runtime
from tasks.stage.errors import command
from tasks.stage.params import FORBID, Objective, Runtime, Seeds, load, objectives, read

if TYPE_CHECKING:
    import pandas as pd

    from tasks.evaluation.judges import HeldOut, Locked
    from tasks.rewards.outcome import RewardModel
    from tasks.rewards.process import ProcessRewardModel

SFT = "models/sft"


@dataclass(frozen=True, config=FORBID)
class Params:
    """The section `evaluate_rewards`."""

    pairs: Annotated[int, Field(gt=0)]
    """Judged pairs per objective."""
    prompts: Annotated[int, Field(gt=0)] = 100
    """Locked prompts per domain whose sampled answers are judged step by step."""
    samples: Annotated[int, Field(ge=2)] = 8
    """Answers per problem of which one is picked."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of the sampled answers."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 96
    """Longest sampled answer, in tokens."""


@dataclass(frozen=True, config=FORBID)
class Job:
    """All that the evaluation depends on besides its inputs."""

    params: Params
    protocol: str
    locked_seed: int
    bootstrap: int
    settings: Runtime
    seeds: Seeds


def run(job: Job, everything: Mapping[str, Any]) -> None:
    """Writes a report per reward model, and one of the process reward model."""
    from tasks.rewards import outcome, process

    device = runtime.start(job.settings, job.seeds.sampling)
    judge = _judge(job, device)
    known = objectives(everything)
    with outputs.directory("reports/rewards") as folder:
        for group in everything["reward_models"]:
            model = outcome.load(f"models/rewards/{group}", device, job.settings.dtype)
            outputs.write_json(folder / f"{group}.json", outcome_report(job, group, model, judge, known))
    process_model = process.load("models/process_reward", device, job.settings.dtype)
    outputs.write_json("reports/process_reward.json", process_report(job, process_model, judge, known))


def _judge(job: Job, device: Any) -> Locked | HeldOut:
    from tasks.evaluation.judges import HeldOut, Locked
    from tasks.policies.generate import sample
    from tasks.sandbox.world import World
    from tasks.stage.models import load_causal, load_tokenizer

    if job.protocol == "likelihood":
        return HeldOut()
    drawn = partial(
        sample,
        load_causal(SFT, device, job.settings.dtype),
        load_tokenizer(SFT),
        max_new_tokens=job.params.max_new_tokens,
        temperature=job.params.temperature,
        seed=job.seeds.sampling,
    )
    world = World.build("locked", job.locked_seed)
    return Locked(world, job.seeds.sampling, job.params.prompts, job.params.samples, drawn)


def outcome_report(
    job: Job, group: str, model: RewardModel, judge: Locked | HeldOut, known: Mapping[str, Objective]
) -> dict[str, Any]:
    """Objective -> its figures, with what the fit of the whole group took (`seconds`, `peak_mb`, `parameters`)."""
    from tasks.evaluation.rewards import quality

    timing = outputs.read_json(f"reports/timing/{group}.json")
    report: dict[str, Any] = {}
    for column, name in enumerate(model.objectives):
        pairs = judge.pairs(group, name, job.params.pairs)
        sides = [model.score(pairs["messages"].tolist(), pairs[side].tolist()) for side in ("chosen", "rejected")]
        chosen, rejected = (side[:, column] for side in sides)
        report[name] = {
            **quality(pairs, chosen, rejected, job.bootstrap, job.seeds.data),
            **timing,
            "heads": len(model.objectives),
        }
        if known[name].verifier is not None:
            graded = judge.graded(name, known[name])
            scores = model.score(graded["messages"].tolist(), graded["response"].tolist())[:, column]
            report[name]["best_of_n"] = _picked(job, graded, scores)
    return report


def process_report(
    job: Job, model: ProcessRewardModel, judge: Locked | HeldOut, known: Mapping[str, Objective]
) -> dict[str, Any]:
    """`objectives`: AUC and, where steps are checkable, first errors; `best_of_n`: for each verified objective; `fit`:
    what fitting took, and the errors on validation labels."""
    from tasks.evaluation.rewards import error_location, step_quality

    fitted = outputs.read_json("reports/timing/process_reward.json")
    report: dict[str, Any] = {"objectives": {}, "best_of_n": {}, "fit": fitted}
    for column, name in enumerate(model.objectives):
        table = judge.steps(name, known[name])
        if table.empty:
            continue
        scores = [each[:, column] for each in model.score_all(table["messages"].tolist(), table["steps"].tolist())]
        gold = table["gold"].tolist()
        figures = step_quality(scores, gold, table["group_id"].tolist(), job.bootstrap, job.seeds.data)
        if known[name].verifier is not None:
            figures |= error_location(scores, gold)
            graded = judge.graded(name, known[name])
            report["best_of_n"][name] = _best_of_by_steps(job, model, column, known[name], graded)
        report["objectives"][name] = figures
    return report


def _best_of_by_steps(
    job: Job, model: ProcessRewardModel, column: int, objective: Objective, graded: pd.DataFrame
) -> dict[str, Any] | None:
    """Picks by the score after the last step; an answer without any step scores lowest."""
    import numpy as np

    from tasks.rewards.segment import split

    steps = [split(response, objective.domain) for response in graded["response"]]
    scored = model.score_all(graded["messages"].tolist(), steps)
    return _picked(job, graded, np.array([each[-1, column] if len(each) else -np.inf for each in scored]))


def _picked(job: Job, graded: pd.DataFrame, scores: Any) -> dict[str, Any] | None:
    """Best of N against random, majority and oracle; None where no problem has several graded answers."""
    import numpy as np

    from tasks.evaluation.judges import final_answers
    from tasks.evaluation.rewards import best_of, best_of_report

    if graded.empty:
        return None
    problems = graded["problem"].nunique()
    shape = (problems, len(graded) // problems)
    answers = np.array(final_answers(graded["response"].tolist()), dtype=object).reshape(shape)
    table = best_of(np.asarray(scores).reshape(shape), graded["correct"].to_numpy(dtype=float).reshape(shape), answers)
    groups = graded["group_id"].to_numpy().reshape(shape)[:, 0].tolist()
    return {"n": shape[1], **best_of_report(table, groups, job.bootstrap, job.seeds.data)}


def main() -> None:
    """Runs the stage."""
    protocol, locked_seed = load(str, "evaluate", "protocol"), load(int, "evaluate", "locked_seed")
    bootstrap, seeds = load(int, "evaluate", "bootstrap"), load(Seeds, "seeds")
    job = Job(load(Params, "evaluate_rewards"), protocol, locked_seed, bootstrap, load(Runtime, "runtime"), seeds)
    run(job, read())


if __name__ == "__main__":
    command(main)
