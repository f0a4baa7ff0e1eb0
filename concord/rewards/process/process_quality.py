"""Quality of a process reward model on held-out step labels.

Two baselines that ignore the text are reported next to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from concord.rewards.process.process_model import ProcessRewardModel

LAST_POSITION = 10
"""Later steps are counted as this position."""


def quality(
    model: ProcessRewardModel, train: pd.DataFrame, held_out: pd.DataFrame
) -> dict[str, dict[str, Any]]:
    """Objective -> number of labelled steps, root mean squared errors, Spearman rank correlation.

    `rmse` is the error of the model, `rmse_mean` that of always predicting the mean training label,
    and `rmse_position` that of predicting the mean training label at the step's position. The last
    baseline is strong, because labels tend to fall along an answer. The correlation is None if the
    labels or the scores are constant.
    """
    scores = model.score_all(held_out["messages"].tolist(), held_out["steps"].tolist())
    train_steps = long_table(train)
    columns = [model.objectives.index(name) for name in held_out["objective"]]
    own_scores = [table[:, column] for table, column in zip(scores, columns, strict=True)]
    steps = long_table(held_out, own_scores)
    return {
        name: _metrics(of_name, train_steps[train_steps["objective"] == name])
        for name in model.objectives
        if not (of_name := steps[steps["objective"] == name]).empty
    }


def long_table(frame: pd.DataFrame, scores: list[np.ndarray] | None = None) -> pd.DataFrame:
    """One row per labelled step: objective, position (from 1), label and score.

    Without `scores`, every score is 0.

    Args:
        frame: rows of the steps table.
        scores: for each row the scores of its steps, `(steps,)`.
    """
    rows = [
        (objective, min(position + 1, LAST_POSITION), float(label), float(score[position]))
        for objective, labels, score in zip(
            frame["objective"],
            frame["labels"],
            scores or frame["labels"].map(lambda x: np.zeros(len(x))),
            strict=True,
        )
        for position, label in enumerate(labels)
        if label is not None and not np.isnan(label)
    ]
    return pd.DataFrame(rows, columns=["objective", "position", "label", "score"])


def _metrics(steps: pd.DataFrame, train_steps: pd.DataFrame) -> dict[str, Any]:
    label, mean = steps["label"], train_steps["label"].mean()
    position_means = train_steps.groupby("position")["label"].mean()
    by_position = steps["position"].map(position_means).fillna(mean)
    constant = label.nunique() < 2 or steps["score"].nunique() < 2
    return {
        "steps": len(steps),
        "rmse": _rmse(steps["score"] - label),
        "rmse_mean": _rmse(mean - label),
        "rmse_position": _rmse(by_position - label),
        "rank_correlation": None if constant else float(label.rank().corr(steps["score"].rank())),
    }


def _rmse(errors: pd.Series) -> float:
    return float((errors**2).mean() ** 0.5)
