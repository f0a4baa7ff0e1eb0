"""One table for all kinds of labels, so that a reward model can be fitted to all of them at once.

A label is an order or a grade. An `order` ranks several responses to one prompt: a comparison is
an order of two responses with a margin, a ranking an order of any number. A `grade` is the grade of
one response on a scale: a rating, or yes or no. `concord.rewards.outcome.examples` reads the table.
"""

from typing import Any

import pandas as pd

PLACE = ["source", "source_file", "source_line"]
"""Columns that say where a label was read."""
COLUMNS = [
    *PLACE,
    "group_id",
    "messages",
    "objective",
    "annotator",
    "kind",
    "responses",
    "values",
    "margin",
    "scale_low",
    "scale_high",
]
"""Columns of the table of labels.

- `values`: for an order, the rank of each response (1 is best, ties are allowed); for a grade, a
  list with the grade on [0, 1].
- `margin`: the stated margin of a comparison, NaN if there is none.
- `scale_low`, `scale_high`: worst and best value of the original scale of a grade.
"""
ORDER, GRADE = "order", "grade"


def from_pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    """Converts every pair to an order of two responses."""
    no_scale = {"scale_low": None, "scale_high": None}
    return _table(
        [
            {
                **row,
                **no_scale,
                "kind": ORDER,
                "responses": [row["chosen"], row["rejected"]],
                "values": [1.0, 2.0],
            }
            for row in pairs.to_dict("records")
        ]
    )


def from_ratings(ratings: pd.DataFrame) -> pd.DataFrame:
    """Converts every ranking to an order and every other rating to a grade.

    Rankings in which all ranks are equal are left out.
    """
    rows: list[dict[Any, Any]] = []
    ranked = ratings["kind"] == "ranking"
    for _, ranking in ratings[ranked].groupby([*PLACE, "objective", "annotator"], sort=False):
        if ranking["raw_rating"].nunique() > 1:
            responses, ranks = ranking["response"].tolist(), ranking["raw_rating"].tolist()
            first = ranking.iloc[0].to_dict()
            rows.append(
                {**first, "kind": ORDER, "responses": responses, "values": ranks, "margin": None}
            )
    for row in ratings[~ranked].to_dict("records"):
        grade = {
            "kind": GRADE,
            "responses": [row["response"]],
            "values": [row["rating"]],
            "margin": None,
        }
        rows.append({**row, **grade})
    return _table(rows)


def collect(pairs: pd.DataFrame, ratings: pd.DataFrame) -> pd.DataFrame:
    """All labels in their original form: comparisons and ratings.

    Pairs that were derived from ratings are left out, because the ratings are included.
    """
    comparisons = pairs[pairs["origin"] == "comparisons"]
    return pd.concat([from_pairs(comparisons), from_ratings(ratings)], ignore_index=True)


def _table(rows: list[dict[Any, Any]]) -> pd.DataFrame:
    types = {
        "source_line": "int64",
        "margin": "float64",
        "scale_low": "float64",
        "scale_high": "float64",
    }
    return pd.DataFrame(
        {
            name: pd.Series([row[name] for row in rows], dtype=types.get(name, "object"))
            for name in COLUMNS
        }
    )
