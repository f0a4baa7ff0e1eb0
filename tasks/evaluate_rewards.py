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

from concord.objectives import Objective, objectives_of
from concord.stage import outputs, runtime
from concord.stage.errors import command
from concord.stage.params import FORBID, Runtime, Seeds, load, read
from concord.stage.paths import PROCESS_REWARD, REPORTS, REWARDS, SFT

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from concord.evaluation.rewards.judged_sets import HeldOut, Locked
    from concord.rewards.outcome.reward_model import RewardModel
    from concord.rewards.process.process_model import ProcessRewardModel


@dataclass(frozen=True, config=FORBID)
class EvaluateRewardsParams:
    """The section `evaluate_rewards`."""

    pairs: Annotated[int, Field(gt=0)]
    """Judged pairs per objective, and held-out grades."""
    prompts: Annotated[int, Field(gt=0)] = 100
    """Locked prompts per domain whose sampled answers are judged step by step."""
    samples: Annotated[int, Field(ge=2)] = 8
    """Answers per problem of which one is picked."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of the sampled answers."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 96
    """Longest sampled answer, in tokens."""


@dataclass(frozen=True, config=FORBID)
class EvaluateRewardsJob:
    """All that the evaluation depends on besides its inputs."""

    params: EvaluateRewardsParams
    protocol: str
    locked_seed: int
    bootstrap: int
    settings: Runtime
    seeds: Seeds


def run(job: EvaluateRewardsJob, everything: Mapping[str, Any]) -> None:
    """Writes a report per reward model, and one of the process reward model."""
    from concord.rewards.outcome import reward_model as outcome
    from concord.rewards.process import process_model as process

    device = runtime.start(job.settings, job.seeds.sampling)
    judge = judge_of(job, device)
    answers = Answers(job, judge, objectives_of(everything))
    with outputs.directory(REPORTS / "rewards") as folder:
        for group in everything["reward_models"]:
            model = outcome.load(REWARDS / f"{group}", device, job.settings.dtype)
            outputs.write_json(
                folder / f"{group}.json", outcome_report(job, group, model, judge, answers)
            )
    process_model = process.load(PROCESS_REWARD, device, job.settings.dtype)
    outputs.write_json(
        REPORTS / "process_reward.json", process_report(job, process_model, judge, answers)
    )


class Answers:
    """Several answers to each problem whose answer can be checked, of which a scorer should pick a right one."""

    def __init__(
        self, job: EvaluateRewardsJob, judge: Locked | HeldOut, known: Mapping[str, Objective]
    ) -> None:
        self.job, self.judge, self.known = job, judge, known
        self._drawn: dict[str, pd.DataFrame] = {}
        self.outcome: dict[str, np.ndarray] = {}
        """By objective: what the first outcome model with a head for it scored them."""

    def of(self, name: str) -> pd.DataFrame:
        """Those of a verified objective; drawn once."""
        if name not in self._drawn:
            self._drawn[name] = self.judge.graded(name, self.known[name])
        return self._drawn[name]

    def picked(
        self, name: str, scores: np.ndarray, outcome: np.ndarray | None = None
    ) -> dict[str, Any] | None:
        """Best of N by scores from 0 to 1 (`concord.evaluation.rewards.picking`); None where no problem has several graded
        answers."""
        from concord.evaluation.rewards import picking
        from concord.evaluation.rewards.votes import finals

        graded = self.of(name)
        if graded.empty:
            return None
        graded = finals(graded, str(self.known[name].verifier)).assign(score=scores)
        if outcome is not None:
            graded["outcome"] = outcome
        return picking.report_by_size(graded, self.job.bootstrap, self.job.seeds.data)


def judge_of(job: EvaluateRewardsJob, device: Any) -> Locked | HeldOut:
    """What reward models are judged on."""
    from concord.evaluation.rewards.judged_sets import HeldOut, Locked
    from concord.lm.load import load_causal, load_tokenizer
    from concord.lm.sample import sample
    from concord.sandbox.world import World

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
    job: EvaluateRewardsJob,
    group: str,
    model: RewardModel,
    judge: Locked | HeldOut,
    answers: Answers,
) -> dict[str, Any]:
    """Objective -> its figures, with what the fit of the whole group took (`seconds`, `peak_mb`, `parameters`)."""
    from scipy.special import expit  # type: ignore[import-untyped]

    timing = outputs.read_json(REPORTS / f"timing/{group}.json")
    cosines = timing.pop("gradient_cosine")
    report: dict[str, Any] = {}
    for column, name in enumerate(model.objectives):
        report[name] = {
            **_head(job, group, name, model, judge),
            "gradient_cosine": cosines.get(name, {}),
            **timing,
            "heads": len(model.objectives),
        }
        if answers.known[name].verifier is not None:
            drawn = answers.of(name)
            scores = model.score(drawn["messages"].tolist(), drawn["response"].tolist())[:, column]
            answers.outcome.setdefault(name, scores)
            report[name]["best_of_n"] = answers.picked(name, expit(scores))
    return report


def _head(
    job: EvaluateRewardsJob, group: str, name: str, model: RewardModel, judge: Locked | HeldOut
) -> dict[str, Any]:
    """What pairs and grades say of one head; a head whose labels imply no pair has figures of grades alone."""
    import numpy as np

    from concord.evaluation.rewards.baselines import pairs as pairs_of
    from concord.evaluation.rewards.head_quality import grade_quality, quality
    from concord.evaluation.rewards.trust import agreement, trust

    calibration = outputs.read_json(REWARDS / f"{group}/calibration.json")[name]
    column, count = model.objectives.index(name), job.params.pairs
    pairs, grades = judge.pairs(group, name, count), judge.grades(name, count)
    sides = [
        model.score(pairs["messages"].tolist(), pairs[side].tolist())
        for side in ("chosen", "rejected")
    ]
    graded = model.score(grades["messages"].tolist(), grades["response"].tolist())
    chosen, rejected = (side[:, column] for side in sides)
    heads = dict(
        zip(model.objectives, (np.concatenate(sides) if len(pairs) else graded).T, strict=True)
    )
    temperature = calibration["temperature"] if calibration["pairs"] else None
    return {
        **quality(pairs, chosen, rejected, job.bootstrap, job.seeds.data),
        **trust(pairs, pairs_of(group, "train", name), chosen, rejected, temperature),
        "grades": grade_quality(grades, graded[:, column], job.bootstrap, job.seeds.data),
        "score_correlation": agreement(heads, name),
    }


def process_report(
    job: EvaluateRewardsJob, model: ProcessRewardModel, judge: Locked | HeldOut, answers: Answers
) -> dict[str, Any]:
    """`objectives`: AUC and, where steps are checkable, first errors, and F1 at a threshold that is chosen on people's
    step labels of the validation split, where there are any; `best_of_n`: for each verified objective; `fit`: what
    fitting took, and the errors on validation labels."""
    from concord.evaluation.rewards.step_quality import error_location, processbench, step_quality

    known, fitted = answers.known, outputs.read_json(REPORTS / "timing/process_reward.json")
    report: dict[str, Any] = {"objectives": {}, "best_of_n": {}, "fit": fitted}
    for column, name in enumerate(model.objectives):
        table = judge.steps(name, known[name])
        if table.empty:
            continue
        scores, gold, groups = (
            _scored(model, table, column),
            table["gold"].tolist(),
            table["group_id"].tolist(),
        )
        figures = step_quality(scores, gold, groups, job.bootstrap, job.seeds.data)
        if known[name].verifier is not None:
            figures |= error_location(scores, gold)
            threshold = _threshold(model, column, name, known[name])
            if threshold is not None:
                found = processbench(scores, gold, groups, threshold, job.bootstrap, job.seeds.data)
                figures["processbench"] = found
            scored = _by_all_steps(model, column, known[name], answers.of(name))
            report["best_of_n"][name] = answers.picked(name, scored, answers.outcome.get(name))
        report["objectives"][name] = figures
    return report


def _scored(model: ProcessRewardModel, table: pd.DataFrame, column: int) -> list[Any]:
    return [
        each[:, column]
        for each in model.score_all(table["messages"].tolist(), table["steps"].tolist())
    ]


def _threshold(
    model: ProcessRewardModel, column: int, name: str, objective: Objective
) -> float | None:
    """Where F1 is highest on people's step labels of the validation split; None where there are none to tell by."""
    from concord.evaluation.rewards.judged_sets import HeldOut
    from concord.evaluation.rewards.step_quality import best_threshold

    table = HeldOut().steps(name, objective, "validation")
    return (
        None
        if table.empty
        else best_threshold(_scored(model, table, column), table["gold"].tolist())
    )


def _by_all_steps(
    model: ProcessRewardModel, column: int, objective: Objective, graded: pd.DataFrame
) -> np.ndarray:
    """The product of the scores of each answer's steps (Lightman et al., arXiv 2305.20050); 0 without any step."""
    import numpy as np

    from concord.annotations.steps import split

    steps = [split(response, objective.domain) for response in graded["response"]]
    scored = model.score_all(graded["messages"].tolist(), steps)
    return np.array([each[:, column].astype(float).prod() if len(each) else 0.0 for each in scored])


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
