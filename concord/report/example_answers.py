"""One prompt of each domain answered at three weights, to read: the one on which the weights tell most."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from concord.evaluation.policies.protocol import EQUAL, find, own_weight
from concord.evaluation.policies.summary import points_of


def three_weights(samples: pd.DataFrame, names: Sequence[str]) -> dict[str, Any] | None:
    """Prompt and three answers with weights, gold and proxies; None where a policy was not swept or did not answer.

    `names` are the judged objectives. Weights: all on one of them, for each of three; otherwise for the first two, with
    equal between them.
    """
    if "response" not in samples.columns or "log_probability" in samples.columns or samples.empty:
        return None
    points = _three(samples, names)
    if len(points) < 3:
        return None
    weights = {point.name: point.weights for point in points_of(samples)}
    rows = samples[samples["point"].isin(points)].drop_duplicates(["prompt_id", "point"])
    told = pd.Series(0.0, index=sorted(rows["prompt_id"].unique()))
    for name in names if len(names) == 3 else names[:2]:
        gold = rows.pivot(index="prompt_id", columns="point", values=f"gold.{name}")
        own = max(points, key=lambda point: float(weights[point].get(name, 0.0)))
        told += gold[own] - gold.drop(columns=own).mean(axis=1)
    told += 0.01 * rows.groupby("prompt_id")["response"].nunique()
    chosen = rows[rows["prompt_id"] == told.idxmax()].set_index("point").loc[points]
    return {
        "messages": chosen.iloc[0]["messages"],
        "kind": chosen.iloc[0].get("kind"),
        "answers": [_answer(row, names) for row in chosen.to_dict("records")],
    }


def _three(samples: pd.DataFrame, names: Sequence[str]) -> list[str]:
    points, domain = points_of(samples), samples["domain"].iloc[0]
    shown = names if len(names) == 3 else names[:2]
    ends = [find(points, domain, own_weight(list(points[0].weights), name, 1.0)) for name in shown]
    found = [point.name for point in ends if point is not None]
    return found if len(names) == 3 else [*found[:1], EQUAL, *found[1:]]


def _answer(row: Mapping[Any, Any], names: Sequence[str]) -> dict[str, Any]:
    weights = json.loads(row["weights"])
    return {
        "response": row["response"],
        "weights": {name: weights[name] for name in names},
        "gold": {name: row[f"gold.{name}"] for name in names},
        "proxy": {name: row[f"proxy.{name}"] for name in names},
    }
