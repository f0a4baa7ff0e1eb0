"""Prompts with answers at three weights: those on which the weights matter most, and typically."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from concord.evaluation.policies.protocol import EQUAL, find, focused_weights
from concord.evaluation.policies.summary import points_of

Effect = Literal["largest", "median"]
"""Which prompt of a domain is shown, by what the weights change in the scores of its answers."""


def three_weights(
    samples: pd.DataFrame, names: Sequence[str], effect: Effect = "largest"
) -> dict[str, Any] | None:
    """Prompt and three answers with weights, gold and proxies; None without a sweep or answers.

    `names` are the judged objectives. With three objectives, each gets all the weight once.
    Otherwise the points are: all weight on the first, equal, all weight on the second.
    """
    if "response" not in samples.columns or "log_probability" in samples.columns or samples.empty:
        return None
    points = _three_points(samples, names)
    if len(points) < 3:
        return None
    weights = {point.name: point.weights for point in points_of(samples)}
    rows = samples[samples["point"].isin(points)].drop_duplicates(["prompt_id", "point"])
    effects = pd.Series(0.0, index=sorted(rows["prompt_id"].unique()))
    for name in names if len(names) == 3 else names[:2]:
        gold = rows.pivot(index="prompt_id", columns="point", values=f"gold.{name}")
        focused = max(points, key=lambda point: float(weights[point].get(name, 0.0)))
        effects += gold[focused] - gold.drop(columns=focused).mean(axis=1)
    effects += 0.01 * rows.groupby("prompt_id")["response"].nunique()
    ordered = effects.sort_values(kind="stable").index
    prompt = effects.idxmax() if effect == "largest" else ordered[len(ordered) // 2]
    chosen = rows[rows["prompt_id"] == prompt].set_index("point").loc[points]
    return {
        "effect": effect,
        "messages": chosen.iloc[0]["messages"],
        "kind": chosen.iloc[0].get("kind"),
        "answers": [_answer(row, names) for row in chosen.to_dict("records")],
    }


def _three_points(samples: pd.DataFrame, names: Sequence[str]) -> list[str]:
    points, domain = points_of(samples), samples["domain"].iloc[0]
    shown = names if len(names) == 3 else names[:2]
    ends = [
        find(points, domain, focused_weights(list(points[0].weights), name, 1.0)) for name in shown
    ]
    points_at_ends = [point.name for point in ends if point is not None]
    return points_at_ends if len(names) == 3 else [*points_at_ends[:1], EQUAL, *points_at_ends[1:]]


def _answer(row: Mapping[Any, Any], names: Sequence[str]) -> dict[str, Any]:
    weights = json.loads(row["weights"])
    return {
        "response": row["response"],
        "weights": {name: weights[name] for name in names},
        "gold": {name: row[f"gold.{name}"] for name in names},
        "proxy": {name: row[f"proxy.{name}"] for name in names},
    }
