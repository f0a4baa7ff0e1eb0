"""The interchange format: the rows of an annotation, and why it is rejected."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.annotations.interchange import KINDS, content_hash, rows, table_of
from concord.annotations.record import RowError

SHARED = {"group_id": "g", "messages": [{"role": "user", "content": "q"}]}
JUDGED = {**SHARED, "objective": "helpful", "annotator": "ann"}
GOOD: dict[str, dict[str, Any]] = {
    "prompt": {**SHARED, "domain": "math", "reference": "4"},
    "demonstration": {**SHARED, "domain": "math", "response": "four", "author": "x"},
    "comparison": {**JUDGED, "a": "one", "b": "two", "preferred": "b"},
    "rating": {**JUDGED, "response": "one", "rating": 4, "scale": [1, 5]},
    "ranking": {**JUDGED, "responses": ["one", "two", "three"], "ranks": [2, 1, 2]},
    "binary": {**JUDGED, "response": "one", "label": 1},
    "steps": {
        **SHARED,
        "objective": "o",
        "steps": ["a\n\n", "b"],
        "labels": [1, None],
        "label_kind": "human",
    },
}


def _good(kind: str, /, **changed: Any) -> dict[str, Any]:
    return {"kind": kind, **GOOD[kind], **changed}


def test_comparison_puts_the_preferred_answer_first() -> None:
    for preferred, chosen, rejected in (("a", "one", "two"), ("b", "two", "one")):
        row = rows(_good("comparison", preferred=preferred, margin=2))[0]
        assert (row["chosen"], row["rejected"], row["margin"]) == (chosen, rejected, 2.0)


def test_rating_is_mapped_to_the_unit_scale() -> None:
    """4 on 1 to 5 is (4 - 1) / (5 - 1) = 0.75. The raw rating and its scale are kept."""
    row = rows(_good("rating"))[0]
    assert (row["rating"], row["raw_rating"], row["scale_low"], row["scale_high"]) == (
        0.75,
        4.0,
        1.0,
        5.0,
    )


def test_worst_rating_of_a_cost_is_the_larger_number() -> None:
    """On a scale from 5 (worst) to 1 (best), 1 becomes 1 and 4 becomes (4 - 5) / (1 - 5) = 0.25."""
    ratings = [rows(_good("rating", rating=cost, scale=[5, 1]))[0]["rating"] for cost in (1, 4)]
    assert ratings == [1.0, 0.25]


def test_ranks_become_ratings() -> None:
    """For three answers, rank 1 becomes 1, rank 2 becomes 0.5, and rank 3 would become 0."""
    converted = rows(_good("ranking"))
    assert [(row["response"], row["rating"], row["kind"]) for row in converted] == [
        ("one", 0.5, "ranking"),
        ("two", 1.0, "ranking"),
        ("three", 0.5, "ranking"),
    ]


def test_binary_label_becomes_rating() -> None:
    assert [rows(_good("binary", label=label))[0]["rating"] for label in (0, 1)] == [0.0, 1.0]


def test_authors_follow_their_answers_and_do_not_change_the_hash() -> None:
    compared = rows(_good("comparison", preferred="b", authors=["gpt", None]))[0]
    assert (compared["chosen_author"], compared["rejected_author"]) == (None, "gpt")
    ranked = rows(_good("ranking", authors=["x", "y", "z"]))
    assert [row["author"] for row in ranked] == ["x", "y", "z"]
    one, other = (rows(_good("binary", author=author))[0] for author in ("x", None))
    assert (one["author"], other["author"]) == ("x", None)
    assert one["row_id"] == other["row_id"]


def test_single_step_labels_may_be_null() -> None:
    assert rows(_good("steps"))[0]["labels"] == [1.0, None]


def test_reference_is_optional() -> None:
    without = {key: value for key, value in _good("prompt").items() if key != "reference"}
    assert rows(without)[0]["reference"] is None
    assert rows(without)[0]["prompt_id"] == rows(_good("prompt"))[0]["prompt_id"]


def test_dialogue_may_open_with_system_or_assistant() -> None:
    turns = [{"role": role, "content": role} for role in ("system", "assistant", "user")]
    assert rows(_good("prompt", messages=turns))[0]["messages"] == turns


def test_row_id_depends_only_on_content_and_annotator() -> None:
    one, other = (
        rows(_good("rating", group_id="x", meta="?"))[0],
        rows(_good("rating", group_id="y"))[0],
    )
    assert one["row_id"] == other["row_id"]
    assert one["row_id"] != rows(_good("rating", annotator="bob"))[0]["row_id"]


@pytest.mark.parametrize(
    ("kind", "changed", "reason", "column"),
    [
        ("rating", {"messages": None}, "missing_key", "messages"),
        ("rating", {"group_id": None}, "missing_key", "group_id"),
        ("rating", {"group_id": True}, "wrong_type", "group_id"),
        ("rating", {"kind": "grade"}, "wrong_type", "kind"),
        ("rating", {"kind": None}, "missing_key", "kind"),
        ("rating", {"messages": "q"}, "wrong_type", "messages"),
        ("rating", {"messages": ["q"]}, "wrong_type", "messages"),
        ("rating", {"messages": []}, "roles_do_not_alternate", "messages"),
        ("rating", {"messages": [{"role": "oracle", "content": "q"}]}, "unknown_role", "messages"),
        ("rating", {"messages": [{"role": "user", "content": " "}]}, "empty_prompt", "messages"),
        ("rating", {"messages": [{"role": "user", "content": "\ud800"}]}, "not_utf8", "messages"),
        (
            "rating",
            {"messages": [{"role": "user", "content": "q"}] * 2},
            "roles_do_not_alternate",
            "messages",
        ),
        (
            "rating",
            {"messages": [{"role": "assistant", "content": "q"}]},
            "roles_do_not_alternate",
            "messages",
        ),
        ("rating", {"rating": "five"}, "wrong_type", "rating"),
        ("rating", {"rating": True}, "wrong_type", "rating"),
        ("rating", {"rating": 6}, "off_scale", "rating"),
        ("rating", {"rating": float("nan")}, "no_label", "rating"),
        ("rating", {"rating": 10**400}, "off_scale", "rating"),
        ("rating", {"scale": [5, 5]}, "off_scale", "scale"),
        ("rating", {"scale": [1, 2, 3]}, "wrong_type", "scale"),
        ("rating", {"response": 3}, "wrong_type", "response"),
        ("rating", {"finish_reason": "length"}, "truncated_response", "finish_reason"),
        ("binary", {"label": 2}, "off_scale", "label"),
        ("binary", {"label": -1}, "off_scale", "label"),
        ("comparison", {"preferred": "tie"}, "tie", "preferred"),
        ("comparison", {"preferred": "c"}, "off_scale", "preferred"),
        ("ranking", {"ranks": [1, 2]}, "wrong_type", "ranks"),
        ("ranking", {"authors": ["x", "y"]}, "wrong_type", "authors"),
        ("comparison", {"authors": ["x", 3]}, "wrong_type", "authors"),
        ("rating", {"author": 3}, "wrong_type", "author"),
        ("ranking", {"ranks": [0, 1, 2]}, "off_scale", "rating"),
        ("ranking", {"responses": ["one", "two", "one"]}, "identical_responses", "responses"),
        ("steps", {"labels": [1]}, "wrong_type", "labels"),
        ("steps", {"labels": [True, 0]}, "wrong_type", "labels"),
        ("prompt", {"reference": 4}, "wrong_type", "reference"),
    ],
)
def test_invalid_annotations_are_rejected(
    kind: str, changed: dict[str, Any], reason: str, column: str
) -> None:
    with pytest.raises(RowError) as caught:
        rows(_good(kind, **changed))
    assert (caught.value.rejection.reason, caught.value.rejection.column) == (reason, column)


@pytest.mark.parametrize("kind", list(KINDS))
def test_keys_of_each_kind_are_required(kind: str) -> None:
    needed = set(GOOD[kind]) - {"reference"}
    for key in needed:
        with pytest.raises(RowError) as caught:
            rows({name: value for name, value in _good(kind).items() if name != key})
        assert caught.value.rejection.reason == "missing_key"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner)
    ),
    max_leaves=5,
)


@given(kind=st.sampled_from(list(KINDS)), data=st.data())
def test_any_value_gives_rows_or_a_row_error(kind: str, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(GOOD[kind])))
    record = _good(kind, **{key: data.draw(ANYTHING)})
    try:
        converted = rows(record)
    except RowError:
        return
    assert converted
    assert table_of(record)
    assert all(0 <= row.get("rating", 0) <= 1 for row in converted)


@given(low=st.integers(-5, 5), width=st.integers(1, 9), data=st.data())
def test_unit_scale_keeps_the_order(low: int, width: int, data: st.DataObject) -> None:
    one, other = (data.draw(st.integers(low, low + width)) for _ in range(2))
    ratings = [
        rows(_good("rating", rating=r, scale=[low, low + width]))[0]["rating"] for r in (one, other)
    ]
    assert (ratings[0] < ratings[1]) == (one < other)
    assert all(0 <= rating <= 1 for rating in ratings)


@given(st.text(), st.text())
def test_different_texts_have_different_hashes(one: str, other: str) -> None:
    assert (content_hash(one) == content_hash(other)) == (one == other)
