"""Preferences as pairs: comparisons as they are, and what ratings, rankings and binary labels imply.

Only grades that one annotator gave on one prompt, objective and scale are compared: between annotators, a 3 against a 2
may say more about the annotators than about the answers. Ranks are compared within their own ranking.
"""

import hashlib
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pandas as pd

from concord.prepared.dedupe import prompt_keys
from concord.prepared.labels import PLACE

AUTHORS = ["chosen_author", "rejected_author"]
COLUMNS = [
    *PLACE,
    "group_id",
    "messages",
    "chosen",
    "rejected",
    "objective",
    "annotator",
    "margin",
    *AUTHORS,
    "origin",
]
"""`origin` is the table that a pair comes from; `margin` how clearly a comparison was won, where somebody said so."""

TYPES = {"source_line": "int64", "margin": "float64"}
"""Of the columns that hold no text."""


def from_comparisons(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Every comparison is a pair."""
    return comparisons.assign(origin="comparisons")[COLUMNS]


def from_ratings(ratings: pd.DataFrame, limit: int | None = None) -> pd.DataFrame:
    """Pairs of answers with different grades; at most `limit` per annotator, prompt and objective.

    Which ones are kept within the limit depends on the pairs' texts alone.
    """
    ranks = ratings["kind"] == "ranking"
    key = ratings[["source", "objective", "annotator", "kind", "scale_low", "scale_high"]].assign(
        prompt=prompt_keys(ratings),
        ranking=ratings["source_line"].where(ranks, -1),  # ranks compare within one ranking alone
        ranking_file=ratings["source_file"].where(ranks, ""),
    )
    rows: list[dict[Any, Any]] = ratings.to_dict("records")
    made = [
        pair
        for positions in key.groupby(list(key.columns), sort=False).indices.values()
        for pair in _limited(_implied([rows[position] for position in positions]), limit)
    ]
    types = {name: TYPES.get(name, "object") for name in COLUMNS}
    return pd.DataFrame(
        {name: pd.Series([pair[name] for pair in made], dtype=types[name]) for name in COLUMNS}
    )


def _implied(rows: list[dict[Any, Any]]) -> Iterator[dict[str, Any]]:
    for one, other in combinations(rows, 2):
        better, worse = (one, other) if one["rating"] > other["rating"] else (other, one)
        if (
            better["rating"] > worse["rating"]
            and better["response"].strip() != worse["response"].strip()
        ):
            pair = {
                "chosen": better["response"],
                "rejected": worse["response"],
                "margin": None,
                "origin": "ratings",
            }
            authors = {"chosen_author": better["author"], "rejected_author": worse["author"]}
            yield {**better, **pair, **authors}


def _limited(pairs: Iterator[dict[str, Any]], limit: int | None) -> list[dict[str, Any]]:
    if limit is None:
        return list(pairs)
    return sorted(pairs, key=_order)[:limit]


def _order(pair: dict[str, Any]) -> str:
    return hashlib.sha256(f"{pair['chosen']}\0{pair['rejected']}".encode()).hexdigest()
