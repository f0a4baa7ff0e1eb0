"""How good a process reward model is on held-out step labels, beside two baselines that read no text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from concord.rewards.process.process_model import ProcessRewardModel

LAST_POSITION = 10  # later steps count as this one


def quality(
    model: ProcessRewardModel, train: pd.DataFrame, held_out: pd.DataFrame
) -> dict[str, dict[str, Any]]:
    """Per objective: labelled steps, root mean squared error, rank correlation (Spearman) with the labels.

    `rmse_mean` is the error of always saying the mean training label, `rmse_position` of the mean training label at
    the step's position: step labels fall along an answer, so the position alone says much.
    """
    scores = model.score_all(held_out["messages"].tolist(), held_out["steps"].tolist())
    known = long_table(train)
    seen = long_table(
        held_out, [table[:, i] for table, i in zip(scores, _columns(model, held_out), strict=True)]
    )
    return {
        name: _figures(own, known[known["objective"] == name])
        for name in model.objectives
        if not (own := seen[seen["objective"] == name]).empty
    }


def long_table(frame: pd.DataFrame, scores: list[np.ndarray] | None = None) -> pd.DataFrame:
    """One row per labelled step: objective, position (from 1), label and, where given, score."""
    rows = [
        (objective, min(position + 1, LAST_POSITION), float(label), float(own[position]))
        for objective, labels, own in zip(
            frame["objective"],
            frame["labels"],
            scores or frame["labels"].map(lambda x: np.zeros(len(x))),
            strict=True,
        )
        for position, label in enumerate(labels)
        if label is not None and not np.isnan(label)
    ]
    return pd.DataFrame(rows, columns=["objective", "position", "label", "score"])


def _columns(model: ProcessRewardModel, frame: pd.DataFrame) -> list[int]:
    return [model.objectives.index(name) for name in frame["objective"]]


def _figures(seen: pd.DataFrame, known: pd.DataFrame) -> dict[str, Any]:
    label, mean = seen["label"], known["label"].mean()
    by_position = seen["position"].map(known.groupby("position")["label"].mean()).fillna(mean)
    constant = label.nunique() < 2 or seen["score"].nunique() < 2
    return {
        "steps": len(seen),
        "rmse": _rmse(seen["score"] - label),
        "rmse_mean": _rmse(mean - label),
        "rmse_position": _rmse(by_position - label),
        "rank_correlation": None if constant else float(label.rank().corr(seen["score"].rank())),
    }


def _rmse(errors: pd.Series) -> float:
    return float((errors**2).mean() ** 0.5)
