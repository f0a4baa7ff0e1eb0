"""Repeated and contradicting rows, on tables with a few rows."""

from typing import Any

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from concord.prepared import dedupe, prompt_keys


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(
        [{"messages": [{"role": "user", "content": "q"}], **row} for row in rows], dtype=object
    )


def _pair(chosen: str, rejected: str, annotator: str = "x", prompt: str = "q") -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    return {
        "messages": messages,
        "chosen": chosen,
        "rejected": rejected,
        "annotator": annotator,
        "objective": "o",
    }


def test_prompt_keys_ignore_case_spacing_and_the_system_turn() -> None:
    plain = [{"role": "user", "content": "What is it?"}]
    same = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " what  IS\nit?"},
    ]
    assert prompt_keys.prompt_key(plain) == prompt_keys.prompt_key(same)
    assert prompt_keys.prompt_key(plain) != prompt_keys.prompt_key(
        [{"role": "user", "content": "What is it"}]
    )
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert prompt_keys.prompt_key(turns) != prompt_keys.prompt_key(
        [{"role": "user", "content": "a b"}]
    )


def test_the_first_of_equal_prompts_is_kept() -> None:
    frame = _frame([{"messages": [{"role": "user", "content": text}]} for text in ("a", "b", "A ")])
    assert dedupe.repeated_prompts(frame).tolist() == [False, False, True]


def test_different_references_for_one_prompt_contradict() -> None:
    rows = [{"reference": reference} for reference in ("4", "5", "4")]
    assert dedupe.contradicting_references(_frame(rows)).tolist() == [True, True, True]
    assert not dedupe.contradicting_references(_frame([{"reference": None}] * 2)).any()


def test_only_the_preferences_of_one_annotator_can_contradict() -> None:
    """x prefers a and also b, y only b. On another prompt x prefers b. Two rows contradict."""
    pairs = _frame(
        [_pair("a", "b"), _pair("b", "a"), _pair("b", "a", "y"), _pair("b", "a", prompt="r")]
    )
    assert dedupe.contradicting_pairs(pairs).tolist() == [True, True, False, False]


def test_a_preference_stated_twice_counts_once() -> None:
    pairs = _frame([_pair("a", "b"), _pair("a", "b"), _pair("a", "b", "y"), _pair("b", "a")])
    assert dedupe.repeated_pairs(pairs).tolist() == [False, True, False, False]


def test_different_grades_of_one_response_contradict_but_ranks_do_not() -> None:
    rated = {"objective": "o", "annotator": "x", "kind": "rating", "response": "a", "rating": 0.5}
    rows = [
        rated,
        {**rated, "rating": 1.0},
        {**rated, "annotator": "y"},
        {**rated, "kind": "binary", "rating": 1.0},
    ]
    rows += [{**rated, "kind": "ranking"}, {**rated, "kind": "ranking", "rating": 0.0}]
    assert dedupe.contradicting_ratings(_frame(rows)).tolist() == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]


def test_an_empty_table_has_no_contradictions() -> None:
    empty = _frame([_pair("a", "b")]).iloc[:0]
    assert dedupe.contradicting_pairs(empty).tolist() == []
    assert dedupe.repeated_pairs(empty).tolist() == []


@given(st.text())
def test_normalising_is_idempotent(text: str) -> None:
    once = prompt_keys.normalise(text)
    assert once == " ".join(once.split())
    assert prompt_keys.normalise(f"  {text}\n") == once


def _ranking(line: int, *rows: str) -> list[dict[str, Any]]:
    origin = {
        "source": "s",
        "source_file": "",
        "source_line": line,
        "objective": "helpful",
        "annotator": "ada",
    }
    return [{**origin, "kind": "ranking", "row_id": row} for row in rows]


def test_rankings_with_a_common_response_are_kept_whole() -> None:
    ratings = pd.DataFrame(
        [*_ranking(1, "a first", "b second"), *_ranking(2, "a first", "c second")]
    )
    assert not dedupe.repeated_ratings(ratings).any()


def test_a_repeated_ranking_or_rating_is_removed() -> None:
    graded = [{**_ranking(3, "g")[0], "kind": "rating"}, {**_ranking(4, "g")[0], "kind": "rating"}]
    ratings = pd.DataFrame([*_ranking(1, "a", "b"), *_ranking(2, "b", "a"), *graded])
    assert dedupe.repeated_ratings(ratings).tolist() == [False, False, True, True, False, True]
