"""Preference pairs from comparisons, ratings, rankings and binary labels.

Grades are compared only within one annotator, prompt, objective and scale: if two annotators give a
3 and a 2, the difference may be due to the annotators. Ranks are compared only within one ranking.
"""

import hashlib
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pandas as pd

from concord.prepared.labels import PLACE
from concord.prepared.prompt_keys import prompt_keys

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
"""Columns of the table of pairs. `origin` is the table that the pair was derived from, and `margin`
the stated margin of a comparison, NaN if there is none."""

TYPES = {"source_line": "int64", "margin": "float64"}
"""Types of the columns that do not hold text."""


def from_comparisons(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Converts every comparison to a pair."""
    return comparisons.assign(origin="comparisons")[COLUMNS]


def from_ratings(ratings: pd.DataFrame, limit: int | None = None) -> pd.DataFrame:
    """All pairs of responses with different grades, at most `limit` per annotator and prompt.

    The limit applies to each combination of annotator, prompt, objective and scale. The choice of
    pairs depends only on their texts.
    """
    ranks = ratings["kind"] == "ranking"
    key = ratings[["source", "objective", "annotator", "kind", "scale_low", "scale_high"]].assign(
        prompt=prompt_keys(ratings),
        ranking=ratings["source_line"].where(
            ranks, -1
        ),  # Ranks are compared only within one ranking.
        ranking_file=ratings["source_file"].where(ranks, ""),
    )
    rows: list[dict[Any, Any]] = ratings.to_dict("records")
    pairs = [
        pair
        for positions in key.groupby(list(key.columns), sort=False).indices.values()
        for pair in _take(_implied_pairs([rows[position] for position in positions]), limit)
    ]
    types = {name: TYPES.get(name, "object") for name in COLUMNS}
    return pd.DataFrame(
        {name: pd.Series([pair[name] for pair in pairs], dtype=types[name]) for name in COLUMNS}
    )


def _implied_pairs(rows: list[dict[Any, Any]]) -> Iterator[dict[str, Any]]:
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


def _take(pairs: Iterator[dict[str, Any]], limit: int | None) -> list[dict[str, Any]]:
    if limit is None:
        return list(pairs)
    return sorted(pairs, key=_text_hash)[:limit]


def _text_hash(pair: dict[str, Any]) -> str:
    return hashlib.sha256(f"{pair['chosen']}\0{pair['rejected']}".encode()).hexdigest()
