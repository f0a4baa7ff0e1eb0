"""Labels as people gave them, so that a reward model can be fitted to all kinds at once (`concord.rewards.outcome.examples`).

An `order` says which of several answers to one prompt are better: a comparison is one of two answers, with its margin,
a ranking one of as many as were ranked. A `grade` is what one answer was given on a scale: a rating, or yes or no.
"""

from typing import Any

import pandas as pd

PLACE = ["source", "source_file", "source_line"]
COLUMNS = [*PLACE, "group_id", "messages", "objective", "annotator", "kind", "responses", "values", "margin",
           "scale_low", "scale_high"]  # fmt: skip
"""`values`: of an order the rank of each response (1 is best, ties allowed), of a grade the one grade on [0, 1], whose
scale ran from `scale_low` (worst) to `scale_high`. `margin`: by how much a comparison was won, where somebody said."""
ORDER, GRADE = "order", "grade"


def of_pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    """Every pair as an order of two."""
    scale = {"scale_low": None, "scale_high": None}
    return _table([
        {**row, **scale, "kind": ORDER, "responses": [row["chosen"], row["rejected"]], "values": [1.0, 2.0]}
        for row in pairs.to_dict("records")
    ])  # fmt: skip


def of_ratings(ratings: pd.DataFrame) -> pd.DataFrame:
    """Every ranking with two ranks at least as an order, every other rating as a grade."""
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


def given(pairs: pd.DataFrame, ratings: pd.DataFrame) -> pd.DataFrame:
    """All labels as people gave them: the pairs that are comparisons, and the ratings."""
    return pd.concat(
        [of_pairs(pairs[pairs["origin"] == "comparisons"]), of_ratings(ratings)], ignore_index=True
    )


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
