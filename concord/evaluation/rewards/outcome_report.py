"""The report of an outcome reward model: per head its quality on held-out pairs and grades.

It also has the diagnostics of the head, best-of-N accuracy if the objective has a verifier, and the
cost of fitting the model.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit  # type: ignore[import-untyped]

from concord.evaluation.rewards.baselines import pairs as pairs_of
from concord.evaluation.rewards.candidates import Candidates
from concord.evaluation.rewards.head_quality import grade_quality, quality
from concord.evaluation.rewards.trust import agreement, head_diagnostics
from concord.rewards.outcome.reward_model import RewardModel, complete
from concord.stage import outputs
from concord.stage.finished_parts import part
from concord.stage.paths import REGULARISATION, REPORTS, REWARDS


def outcome_report(
    group: str, model: RewardModel, candidates: Candidates, count: int
) -> dict[str, Any]:
    """Objective -> its metrics, with the cost of fitting the whole group.

    The cost is `seconds`, `peak_mb` and `parameters`. `count` is the number of held-out pairs, and
    of held-out grades, per objective. The scores of the candidates are kept in `candidates`, unless
    an earlier model has scored them.
    """
    timing = outputs.read_json(REPORTS / f"timing/{group}.json")
    cosines = timing.pop("gradient_cosine")
    strengths = chosen_strengths(REWARDS / group)
    report: dict[str, Any] = {}
    for column, name in enumerate(model.objectives):
        head_report = partial(_head_report, group, name, model, candidates, count)
        report[name] = {
            **part("head", [group, name], head_report),
            "gradient_cosine": cosines.get(name, {}),
            **timing,
            "heads": len(model.objectives),
            **strengths.get(name, {}),
        }
        if candidates.objectives[name].verifier is not None:
            answers = candidates.of(name)
            scores = _scores(model, answers, "response")[:, column]
            candidates.outcome.setdefault(name, scores)
            report[name]["best_of_n"] = candidates.best_of_n(name, expit(scores))
    return report


def chosen_strengths(folder: Path) -> dict[str, dict[str, Any]]:
    """Objective -> `regularisation`: its L2 penalty and the curve it was chosen from.

    Empty if the penalty of the model in `folder` was not chosen but given, or is not a penalty on
    frozen features.
    """
    file = folder / REGULARISATION
    chosen = outputs.read_json(file) if file.is_file() else {}
    return {name: {"regularisation": choice} for name, choice in chosen.items()}


def _head_report(
    group: str, name: str, model: RewardModel, candidates: Candidates, count: int
) -> dict[str, Any]:
    """Metrics of one head on pairs and grades; on grades only, if the labels imply no pairs."""
    judge, bootstrap, seed = candidates.judge, candidates.bootstrap, candidates.seed
    calibration = outputs.read_json(REWARDS / f"{group}/calibration.json")[name]
    column = model.objectives.index(name)
    pairs, grades = judge.pairs(group, name, count), judge.grades(name, count)
    sides = [_scores(model, pairs, side) for side in ("chosen", "rejected")]
    graded = _scores(model, grades, "response")
    chosen, rejected = (side[:, column] for side in sides)
    heads = dict(
        zip(model.objectives, (np.concatenate(sides) if len(pairs) else graded).T, strict=True)
    )
    temperature = calibration["temperature"] if calibration["pairs"] else None
    return {
        **quality(pairs, chosen, rejected, bootstrap, seed),
        **head_diagnostics(pairs, pairs_of(group, "train", name), chosen, rejected, temperature),
        "grades": grade_quality(grades, graded[:, column], bootstrap, seed),
        "score_correlation": agreement(heads, name),
    }


def _scores(model: RewardModel, frame: pd.DataFrame, column: str) -> np.ndarray:
    """Scores `(rows, objectives)` of the responses in a column."""
    return complete(model, model.score(frame["messages"].tolist(), frame[column].tolist()))
