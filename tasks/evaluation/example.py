"""One prompt of each domain answered at three weights, to read: the prompt on which the three answers differ most."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from tasks.evaluation.protocol import EQUAL, find, own_weight
from tasks.evaluation.summary import points_of


def three_weights(samples: pd.DataFrame, names: Sequence[str]) -> dict[str, Any] | None:
    """Prompt and three answers with weights, gold and proxies; None where a policy was not swept or did not answer.

    Weights: all on one objective, for the first and the last of two (with equal between them), or for each of three.
    """
    if "response" not in samples.columns or "log_probability" in samples.columns or samples.empty:
        return None
    points = _three(samples, names)
    if len(points) < 3:
        return None
    gold = [f"gold.{name}" for name in names]
    rows = samples[samples["point"].isin(points)].drop_duplicates(["prompt_id", "point"])
    blocks = rows.groupby("prompt_id")
    contrast = (blocks[gold].max() - blocks[gold].min()).sum(axis=1) + 0.01 * blocks["response"].nunique()
    chosen = rows[rows["prompt_id"] == contrast.sort_index().idxmax()].set_index("point").loc[points]
    return {
        "messages": chosen.iloc[0]["messages"],
        "kind": chosen.iloc[0].get("kind"),
        "answers": [_answer(row, names) for row in chosen.to_dict("records")],
    }


def _three(samples: pd.DataFrame, names: Sequence[str]) -> list[str]:
    points, domain = points_of(samples), samples["domain"].iloc[0]
    ends = [find(points, domain, own_weight(names, name, 1.0)) for name in (names if len(names) == 3 else names[:2])]
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
