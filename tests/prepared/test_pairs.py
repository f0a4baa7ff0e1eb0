"""Pairs derived from ratings, and ratings that are not paired."""

from itertools import combinations
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from concord.annotations import schemas
from concord.prepared import pairs


def _rated(response: str, rating: float, **changed: Any) -> dict[str, Any]:
    origin = {"source": "s", "source_file": "", "source_line": 1, "group_id": "g", "row_id": "r"}
    grade = {
        "rating": rating,
        "raw_rating": rating,
        "scale_low": 0.0,
        "scale_high": 1.0,
        "kind": "rating",
        "author": None,
    }
    judged = {"messages": [{"role": "user", "content": "q"}], "objective": "o", "annotator": "x"}
    return {**origin, **grade, **judged, "response": response, **changed}


def _implied(rows: list[dict[str, Any]], limit: int | None = None) -> set[tuple[str, str]]:
    result = pairs.from_ratings(schemas.build("ratings", rows), limit)
    assert list(result.columns) == pairs.COLUMNS
    return set(zip(result["chosen"], result["rejected"], strict=True))


def test_better_grades_win_and_equal_grades_are_not_paired() -> None:
    """a .9, b .5, c .5: a beats b and c; b and c are tied."""
    assert _implied([_rated("a", 0.9), _rated("b", 0.5), _rated("c", 0.5)]) == {
        ("a", "b"),
        ("a", "c"),
    }


def test_only_comparable_grades_are_paired() -> None:
    base = _rated("a", 1.0)
    others: list[dict[str, Any]] = [
        {"annotator": "y"},
        {"objective": "p"},
        {"kind": "binary"},
        {"messages": [{"role": "user", "content": "other"}]},
        {"scale_high": 5.0},
        {"source": "t"},
    ]
    for other in others:
        assert _implied([base, _rated("b", 0.0, **other)]) == set()


def test_ranks_are_compared_within_one_ranking() -> None:
    first = [_rated("a", 1.0, kind="ranking"), _rated("b", 0.0, kind="ranking")]
    second = [
        _rated("c", 1.0, kind="ranking", source_line=2),
        _rated("d", 0.0, kind="ranking", source_line=2),
    ]
    assert _implied(first + second) == {("a", "b"), ("c", "d")}
    elsewhere = [{**row, "source_line": 1, "source_file": "b"} for row in second]
    assert _implied(first + elsewhere) == {("a", "b"), ("c", "d")}


def test_comparisons_are_pairs() -> None:
    row = {
        **_rated("", 0.0),
        "chosen": "a",
        "rejected": "b",
        "margin": None,
        "chosen_author": "x",
        "rejected_author": None,
    }
    result = pairs.from_comparisons(schemas.build("comparisons", [row]))
    assert result.loc[0, ["chosen", "rejected", "origin"]].tolist() == ["a", "b", "comparisons"]


def test_without_ratings_there_are_no_pairs() -> None:
    result = pairs.from_ratings(schemas.build("ratings", []))
    assert list(result.columns) == pairs.COLUMNS
    assert result.empty


RATINGS = st.dictionaries(
    st.sampled_from("abcdef"), st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1
)


@given(RATINGS, st.integers(1, 5), st.randoms())
def test_the_limit_keeps_the_same_pairs_in_any_order(
    ratings: dict[str, float], limit: int, random: Any
) -> None:
    rows = [_rated(response, rating) for response, rating in ratings.items()]
    every = _implied(rows)
    expected = {(a, b) for a, b in combinations(ratings, 2) if ratings[a] > ratings[b]}
    expected |= {(b, a) for a, b in combinations(ratings, 2) if ratings[b] > ratings[a]}
    assert every == expected
    kept = _implied(rows, limit)
    random.shuffle(rows)
    assert kept <= every
    assert len(kept) == min(limit, len(every))
    assert kept == _implied(rows, limit)
