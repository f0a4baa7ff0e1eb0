"""Evaluates the reward models and the process reward model on held-out data.

    models/rewards, models/process_reward, models/sft, data/prepared, reports/timing
    -> reports/rewards/<group>.json, reports/process_reward.json

    python -m tasks.evaluate_rewards

The stage is separate from training, so a new locked seed does not retrain anything.

Protocol `sandbox`: pairs of the locked world, for which the best possible accuracy is known, and
gold labels of every step in answers of the SFT model.

Protocol `likelihood`: the test split of the human annotations.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations.steps import split
from concord.evaluation.rewards.votes import finals
from concord.lm.load import load_causal, load_tokenizer
from concord.objectives import Objective, objectives_of
from concord.rewards.outcome import reward_model as outcome
from concord.sandbox.world import World
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
    """Held-out pairs, and held-out graded answers, per objective."""
    prompts: Annotated[int, Field(gt=0)] = 100
    """Locked prompts per domain whose sampled answers are judged step by step."""
    samples: Annotated[int, Field(ge=2)] = 8
    """N of best-of-N: answers sampled per problem."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Sampling temperature."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 96
    """Maximum length of a sampled answer, in tokens."""


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
    """Writes one report per reward model, and one for the process reward model."""
    from concord.rewards.process import process_model as process

    device = runtime.start(job.settings, job.seeds.sampling)
    judge = make_judge(job, device)
    answers = Answers(job, judge, objectives_of(all_params))
    with outputs.directory(REPORTS / "rewards") as folder:
        for group in all_params["reward_models"]:
            model = outcome.load(REWARDS / f"{group}", device, job.settings.dtype)
            outputs.write_json(
                folder / f"{group}.json", outcome_report(job, group, model, judge, answers)
            )
    process_model = process.load(PROCESS_REWARD, device, job.settings.dtype)
    outputs.write_json(
        REPORTS / "process_reward.json", process_report(job, process_model, judge, answers)
    )


class Answers:
    """Sampled answers to problems with a verifier, for best-of-N selection."""

    def __init__(
        self, job: EvaluateRewardsJob, judge: Locked | HeldOut, objectives: Mapping[str, Objective]
    ) -> None:
        self.job, self.judge, self.objectives = job, judge, objectives
        self._drawn: dict[str, pd.DataFrame] = {}
        self.outcome: dict[str, np.ndarray] = {}
        """Objective -> scores of the answers by the first outcome model with a head for it."""

    def of(self, name: str) -> pd.DataFrame:
        """The answers for an objective with a verifier; sampled once."""
        if name not in self._drawn:
            self._drawn[name] = self.judge.graded(name, self.objectives[name])
        return self._drawn[name]

    def best_of_n(
        self, name: str, scores: np.ndarray, outcome: np.ndarray | None = None
    ) -> dict[str, Any] | None:
        """Best-of-N accuracy by scores from 0 to 1, as in `concord.evaluation.rewards.picking`.

        None if no problem has several graded answers.
        """
        from concord.evaluation.rewards import picking

        graded = self.of(name)
        if graded.empty:
            return None
        graded = finals(graded, str(self.objectives[name].verifier)).assign(score=scores)
        if outcome is not None:
            graded["outcome"] = outcome
        return picking.report_by_size(graded, self.job.bootstrap, self.job.seeds.data)


def make_judge(job: EvaluateRewardsJob, device: Any) -> Locked | HeldOut:
    """The held-out data of the protocol."""
    from concord.evaluation.rewards.judged_sets import HeldOut, Locked
    from concord.lm.sample import sample

    if job.protocol == "likelihood":
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


def outcome_report(
    job: EvaluateRewardsJob,
    group: str,
    model: RewardModel,
    judge: Locked | HeldOut,
    answers: Answers,
) -> dict[str, Any]:
    """Objective -> its metrics, with the cost of fitting the whole group.

    The cost is `seconds`, `peak_mb` and `parameters`.
    """
    from scipy.special import expit  # type: ignore[import-untyped]

    timing = outputs.read_json(REPORTS / f"timing/{group}.json")
    cosines = timing.pop("gradient_cosine")
    report: dict[str, Any] = {}
    for column, name in enumerate(model.objectives):
        report[name] = {
            **_head_report(job, group, name, model, judge),
            "gradient_cosine": cosines.get(name, {}),
            **timing,
            "heads": len(model.objectives),
        }
        if answers.objectives[name].verifier is not None:
            sampled_answers = answers.of(name)
            scores = model.score(
                sampled_answers["messages"].tolist(), sampled_answers["response"].tolist()
            )[:, column]
            answers.outcome.setdefault(name, scores)
            report[name]["best_of_n"] = answers.best_of_n(name, expit(scores))
    return report


def _head_report(
    job: EvaluateRewardsJob, group: str, name: str, model: RewardModel, judge: Locked | HeldOut
) -> dict[str, Any]:
    """Metrics of one head on pairs and grades; on grades only, if the labels imply no pairs."""
    import numpy as np

    from concord.evaluation.rewards.baselines import pairs as pairs_of
    from concord.evaluation.rewards.head_quality import grade_quality, quality
    from concord.evaluation.rewards.trust import agreement, head_diagnostics

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
        **head_diagnostics(pairs, pairs_of(group, "train", name), chosen, rejected, temperature),
        "grades": grade_quality(grades, graded[:, column], job.bootstrap, job.seeds.data),
        "score_correlation": agreement(heads, name),
    }


def process_report(
    job: EvaluateRewardsJob, model: ProcessRewardModel, judge: Locked | HeldOut, answers: Answers
) -> dict[str, Any]:
    """The report of the process reward model.

    - `objectives`: the AUC of the step scores. For objectives with a verifier also the accuracy of
      locating the first error, and F1 at a threshold chosen on human step labels of the validation
      split, if there are any.
    - `best_of_n`: best-of-N accuracy for each objective with a verifier.
    - `fit`: the cost of fitting, and the errors on validation labels.
    """
    from concord.evaluation.rewards.step_quality import error_location, processbench, step_quality

    objectives = answers.objectives
    fitted = outputs.read_json(REPORTS / "timing/process_reward.json")
    report: dict[str, Any] = {"objectives": {}, "best_of_n": {}, "fit": fitted}
    for column, name in enumerate(model.objectives):
        table = judge.steps(name, objectives[name])
        if table.empty:
            continue
        scores, gold, groups = (
            _scored(model, table, column),
            table["gold"].tolist(),
            table["group_id"].tolist(),
        )
        figures = step_quality(scores, gold, groups, job.bootstrap, job.seeds.data)
        if objectives[name].verifier is not None:
            figures |= error_location(scores, gold)
            threshold = _threshold(model, column, name, objectives[name])
            if threshold is not None:
                figures["processbench"] = processbench(
                    scores, gold, groups, threshold, job.bootstrap, job.seeds.data
                )
            scored = _step_products(model, column, objectives[name], answers.of(name))
            report["best_of_n"][name] = answers.best_of_n(name, scored, answers.outcome.get(name))
        report["objectives"][name] = figures
    return report


def _scored(model: ProcessRewardModel, table: pd.DataFrame, column: int) -> list[Any]:
    """Scores `(steps,)` of each answer by one head."""
    return [
        each[:, column]
        for each in model.score_all(table["messages"].tolist(), table["steps"].tolist())
    ]


def _threshold(
    model: ProcessRewardModel, column: int, name: str, objective: Objective
) -> float | None:
    """The threshold with the highest F1 on human step labels of the validation split, or None."""
    from concord.evaluation.rewards.judged_sets import HeldOut
    from concord.evaluation.rewards.step_quality import best_threshold

    table = HeldOut().steps(name, objective, "validation")
    return (
        None
        if table.empty
        else best_threshold(_scored(model, table, column), table["gold"].tolist())
    )


def _step_products(
    model: ProcessRewardModel, column: int, objective: Objective, graded: pd.DataFrame
) -> np.ndarray:
    """Product of the step scores of each answer `(answers,)`; 0 for an answer without steps.

    Source: Lightman et al., "Let's Verify Step by Step", arXiv 2305.20050.
    """
    import numpy as np

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
