"""The table of labels: comparisons, rankings and grades."""

from typing import Any

import pandas as pd

from concord.annotations import schemas
from concord.prepared import labels, pairs

PLACE = {"source": "s", "source_file": "", "source_line": 1, "group_id": "g", "row_id": "r"}
JUDGED = {"messages": [{"role": "user", "content": "q"}], "objective": "o", "annotator": "x"}
RATED = {
    "rating": 0.5,
    "raw_rating": 3.0,
    "scale_low": 1.0,
    "scale_high": 5.0,
    "kind": "rating",
    "response": "a",
    "author": None,
}


def _ratings(*rows: dict[str, Any]) -> pd.DataFrame:
    return schemas.build("ratings", [{**PLACE, **JUDGED, **RATED, **row} for row in rows])


def _ranked(response: str, rank: float, **changed: Any) -> dict[str, Any]:
    return {
        "response": response,
        "raw_rating": rank,
        "kind": "ranking",
        "scale_low": 3.0,
        "scale_high": 1.0,
        **changed,
    }


def _pairs(*rows: dict[str, Any]) -> pd.DataFrame:
    comparisons = [
        {
            **PLACE,
            **JUDGED,
            "chosen": "a",
            "rejected": "b",
            "margin": None,
            "chosen_author": None,
            "rejected_author": None,
            **row,
        }
        for row in rows
    ]
    return pairs.from_comparisons(schemas.build("comparisons", comparisons))


def test_a_comparison_is_an_order_with_its_margin() -> None:
    (row,) = labels.from_pairs(_pairs({"margin": 2.0})).to_dict("records")
    assert (row["kind"], row["responses"], row["values"], row["margin"]) == (
        "order",
        ["a", "b"],
        [1.0, 2.0],
        2.0,
    )


def test_each_ranking_is_one_order() -> None:
    table = labels.from_ratings(
        _ratings(
            _ranked("a", 2),
            _ranked("b", 1),
            _ranked("c", 2),
            *[_ranked(t, 1 + (t == "e"), source_line=2) for t in "de"],
        )
    )
    assert table[["kind", "responses", "values"]].values.tolist() == [
        ["order", ["a", "b", "c"], [2, 1, 2]],
        ["order", ["d", "e"], [1, 2]],
    ]


def test_a_ranking_with_equal_ranks_is_dropped() -> None:
    assert labels.from_ratings(_ratings(_ranked("a", 1), _ranked("b", 1))).empty


def test_a_grade_keeps_its_scale() -> None:
    (row,) = labels.from_ratings(_ratings({})).to_dict("records")
    assert (row["kind"], row["responses"], row["values"]) == ("grade", ["a"], [0.5])
    assert (row["scale_low"], row["scale_high"]) == (1.0, 5.0)


def test_pairs_derived_from_ratings_are_not_labels() -> None:
    """The ratings are labels already, so they would count twice."""
    grades = _ratings({"response": "a", "rating": 1.0}, {"response": "b", "rating": 0.0})
    every = pd.concat([_pairs({}), pairs.from_ratings(grades)], ignore_index=True)
    assert len(every) == 2
    table = labels.collect(every, grades)
    assert table["kind"].tolist() == ["order", "grade", "grade"]
    assert list(table.columns) == labels.COLUMNS


def test_without_labels_the_table_is_empty_with_all_columns() -> None:
    empty = labels.collect(_pairs(), _ratings())
    assert empty.empty
    assert list(empty.columns) == labels.COLUMNS
    assert empty["margin"].dtype == "float64"
