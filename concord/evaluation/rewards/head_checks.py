"""Checks of reward models: how often a head prefers the right answer of a check's comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from concord.annotations.steps import split
from concord.evaluation.check_figures import both_sides, figures
from concord.evaluation.rewards.process_report import solution_scores
from concord.objectives import Objective
from concord.rewards.outcome.reward_model import RewardModel
from concord.rewards.process.process_model import ProcessRewardModel

Pairs = Mapping[str, pd.DataFrame]
"""Check -> its pairs, from `concord.evaluation.check_figures.read_pairs`."""


def outcome_checks(model: RewardModel, name: str, checks: Pairs) -> dict[str, Any]:
    """Check -> its figures, for the head `name` of a reward model and the checks of its objective.

    The figures are those of `concord.evaluation.check_figures.figures`.
    """
    column = model.objectives.index(name)
    return {
        check: figures(pairs, model.score(*both_sides(pairs))[:, column])
        for check, pairs in _of_objective(checks, name).items()
    }


def process_checks(
    model: ProcessRewardModel,
    objectives: Mapping[str, Objective],
    checks: Pairs,
    solution_score: str,
) -> dict[str, Any]:
    """Check -> its figures, for the heads of a process reward model.

    If the objective has a verifier, an answer scores as in best-of-N, by `solution_score`. The
    other objectives are judged on the answer so far: an answer scores what its last step does.
    """
    report = {}
    for column, name in enumerate(model.objectives):
        objective = objectives[name]
        rule = solution_score if objective.verifier else "last"
        for check, pairs in _of_objective(checks, name).items():
            messages, answers = both_sides(pairs)
            steps = [split(answer, objective.domain) for answer in answers]
            scores = [each[:, column] for each in model.score_all(messages, steps)]
            report[check] = figures(pairs, solution_scores(scores, rule))
    return report


def _of_objective(checks: Pairs, name: str) -> dict[str, pd.DataFrame]:
    return {check: pairs for check, pairs in checks.items() if pairs["objective"].iloc[0] == name}
