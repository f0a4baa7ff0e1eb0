"""The report of the process reward model: quality of its step scores, and best-of-N accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from concord.annotations.steps import split
from concord.evaluation.rewards.candidates import Candidates
from concord.evaluation.rewards.judged_sets import HeldOut
from concord.evaluation.rewards.outcome_report import chosen_strengths
from concord.evaluation.rewards.step_quality import (
    best_threshold,
    error_location,
    processbench,
    step_quality,
)
from concord.objectives import Objective
from concord.rewards.process.process_model import ProcessRewardModel
from concord.stage import outputs
from concord.stage.paths import PROCESS_REWARD, REPORTS


def process_report(
    model: ProcessRewardModel, candidates: Candidates, solution_score: str = "product"
) -> dict[str, Any]:
    """The report of the process reward model.

    `solution_score` is as in `solution_scores`.

    - `objectives`: the AUC of the step scores, and how the regularisation of a frozen head was
      chosen. For objectives with a verifier also the accuracy of locating the first error, and F1
      at a threshold chosen on human step labels of the validation split, if there are any.
    - `best_of_n`: best-of-N accuracy for each objective with a verifier.
    - `fit`: the cost of fitting, and the errors on validation labels.
    """
    bootstrap, seed = candidates.bootstrap, candidates.seed
    fitted = outputs.read_json(REPORTS / "timing/process_reward.json")
    report: dict[str, Any] = {"objectives": {}, "best_of_n": {}, "fit": fitted}
    strengths = chosen_strengths(PROCESS_REWARD)
    for column, name in enumerate(model.objectives):
        objective = candidates.objectives[name]
        table = candidates.judge.steps(name, objective)
        if table.empty:
            continue
        scores = _step_scores(model, table, column)
        gold, groups = table["gold"].tolist(), table["group_id"].tolist()
        figures = step_quality(scores, gold, groups, bootstrap, seed)
        if objective.verifier is not None:
            figures |= error_location(scores, gold)
            threshold = _threshold(model, column, name, objective)
            if threshold is not None:
                figures["processbench"] = processbench(
                    scores, gold, groups, threshold, bootstrap, seed
                )
            graded = candidates.of(name)
            steps = [split(response, objective.domain) for response in graded["response"]]
            scored = model.score_all(graded["messages"].tolist(), steps)
            solutions = solution_scores([each[:, column] for each in scored], solution_score)
            outcome = candidates.outcome.get(name)
            report["best_of_n"][name] = candidates.best_of_n(name, solutions, outcome)
        report["objectives"][name] = {**figures, **strengths.get(name, {})}
    return report


def _step_scores(model: ProcessRewardModel, table: pd.DataFrame, column: int) -> list[np.ndarray]:
    """Scores `(steps,)` of each answer by one head."""
    return [
        each[:, column]
        for each in model.score_all(table["messages"].tolist(), table["steps"].tolist())
    ]


def _threshold(
    model: ProcessRewardModel, column: int, name: str, objective: Objective
) -> float | None:
    """The threshold with the highest F1 on human step labels of the validation split, or None."""
    table = HeldOut().steps(name, objective, "validation")
    if table.empty:
        return None
    return best_threshold(_step_scores(model, table, column), table["gold"].tolist())


def solution_scores(steps: Sequence[np.ndarray], rule: str) -> np.ndarray:
    """The score of each answer `(answers,)` from its step scores; 0 for an answer without steps.

    `product` is the probability that all steps are right (Lightman et al., "Let's Verify Step by
    Step", arXiv 2305.20050). `last` is the score after the last step: what is left for discounted
    values, because the product of discounts only depends on the number of steps.

    Examples:
        >>> solution_scores([np.array([0.5, 0.8]), np.array([])], "product").tolist()
        [0.4, 0.0]
        >>> solution_scores([np.array([0.5, 0.8]), np.array([])], "last").tolist()
        [0.8, 0.0]
    """
    combine = np.prod if rule == "product" else lambda scores: scores[-1]
    return np.array([combine(each.astype(float)) if len(each) else 0.0 for each in steps])
