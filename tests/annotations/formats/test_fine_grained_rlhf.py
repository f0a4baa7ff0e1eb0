"""The format fine_grained_rlhf."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.annotations import interchange, reader
from concord.annotations.formats import fine_grained_rlhf
from concord.annotations.record import Record, RowError

ANSWER = "Pears are green, but some of them are red too. They grow on tall trees. Ann ate one."
CLAUSES = [
    "Pears are green, but some of them are red too.",
    " They grow on tall trees.",
    " Ann ate one.",
]


def error(kind: str, words: str) -> dict[str, Any]:
    start = ANSWER.index(words)
    return {"error type": kind, "start": start, "end": start + len(words), "explanation": ""}


def row(*errors: dict[str, Any], missing: tuple[str, ...] = (), **change: Any) -> dict[str, Any]:
    lacks = [{"error type": kind, "passage_id": 1, "sentence_id": [1]} for kind in missing]
    feedback = {
        "errors": list(errors),
        "missing-info": lacks,
        "corrected-prediction": "Pears are red.",
    }
    passages = [["Pear", "Pears are fruit.", "They are red."], ["Ann", "Ann eats pears."]]
    answers = {
        "prediction 1": ANSWER,
        "prediction 2": "Two.",
        "prediction 3": "Three.",
        "prediction 4": "Four.",
    }
    given = {"question": "Are pears green?", "passages": passages, "feedback": feedback, **answers}
    return {**given, "preference": [1, 2, 0, 2, 1, 1], **change}


def read(folder: Path, given: dict[str, Any], **options: Any) -> list[Record]:
    path = folder / "dev_feedback.json"
    path.write_text(json.dumps([given]), encoding="utf-8")
    return list(reader.read("fine_grained_rlhf", path, options, {}))


def labels(folder: Path, given: dict[str, Any]) -> dict[str, list[float | None]]:
    rows = [record.row for record in read(folder, given, overall=None)]
    return {row["objective"]: row["labels"] for row in rows if row is not None}


def test_row_becomes_steps_of_three_objectives_and_comparisons(tmp_path: Path) -> None:
    rows = [record.row for record in read(tmp_path, row()) if record.row is not None]
    steps = [interchange.rows(converted)[0] for converted in rows if converted["kind"] == "steps"]
    assert [converted["objective"] for converted in steps] == [
        "relevance",
        "factuality",
        "completeness",
    ]
    assert all("".join(converted["steps"]) == ANSWER for converted in steps)
    assert all(
        set(converted["labels"]) == {1} and converted["label_kind"] == "human"
        for converted in steps
    )
    (message,) = steps[0]["messages"]
    assert (
        message["content"]
        == "Pear\nPears are fruit.\nThey are red.\n\nAnn\nAnn eats pears.\n\nAre pears green?"
    )
    compared = [
        (converted["a"][:3], converted["b"][:3], converted["preferred"])
        for converted in rows
        if converted["kind"] == "comparison"
    ]
    assert compared == [
        ("Pea", "Two", "a"),
        ("Pea", "Thr", "b"),
        ("Pea", "Fou", "tie"),
        ("Two", "Thr", "b"),
        ("Two", "Fou", "a"),
        ("Thr", "Fou", "a"),
    ]


def test_ties_are_rejected(tmp_path: Path) -> None:
    tied = [
        converted.row
        for converted in read(tmp_path, row())
        if converted.row is not None and converted.row.get("preferred") == "tie"
    ]
    with pytest.raises(RowError, match="tie"):
        interchange.rows(tied[0])


def test_steps_are_clauses_for_relevance_and_sentences_for_factuality(tmp_path: Path) -> None:
    rows = {
        converted.row["objective"]: converted.row
        for converted in read(tmp_path, row(), overall=None)
        if converted.row is not None
    }
    assert rows["factuality"]["steps"] == CLAUSES
    longer = "Pears, which are a fruit of the tree, are green or, at times, of a very dark red."
    (converted, *_) = read(tmp_path, row(**{"prediction 1": longer}))
    assert converted.row is not None
    assert converted.row["steps"] == [
        "Pears, which are a fruit of the tree,",
        " are green or, at times,",
        " of a very dark red.",
    ]
    assert rows["completeness"]["steps"] == [ANSWER]


@pytest.mark.parametrize("kind", ["Irrelevant", "Redundant", "Incoherent"])
def test_facts_in_irrelevant_text_are_unlabelled(tmp_path: Path, kind: str) -> None:
    labels_of = labels(tmp_path, row(error(kind, "They grow")))
    assert labels_of == {"relevance": [1, 0, 1], "factuality": [1, None, 1], "completeness": [1]}


@pytest.mark.parametrize("kind", ["Wrong-Grounding", "Unverifiable"])
def test_wrong_fact_only_affects_factuality(tmp_path: Path, kind: str) -> None:
    labels_of = labels(
        tmp_path, row(error(kind, "They grow"), error("Irrelevant", "on tall trees. Ann"))
    )
    assert labels_of == {"relevance": [1, 0, 0], "factuality": [1, 0, None], "completeness": [1]}


def test_span_that_ends_before_a_sentence_does_not_mark_it(tmp_path: Path) -> None:
    assert labels(tmp_path, row(error("Irrelevant", "red too. ")))["relevance"] == [0, 1, 1]


@pytest.mark.parametrize(
    ("missing", "label"),
    [
        ((), 1),
        (("Missing-Minor-Auxiliary",), 1),
        (("Missing-Minor-Auxiliary", "Missing-Major-Auxiliary"), 0),
        (("Missing-Answer",), 0),
    ],
)
def test_missing_information_makes_an_answer_incomplete(
    tmp_path: Path, missing: tuple[str, ...], label: int
) -> None:
    assert labels(tmp_path, row(missing=missing))["completeness"] == [label]


def test_options(tmp_path: Path) -> None:
    options = {
        "relevance": "to_the_point",
        "factuality": None,
        "completeness": None,
        "overall": None,
    }
    steps, prompt = read(tmp_path, row(), **options, passages=False, prompts=True)
    assert steps.row is not None
    assert prompt.row is not None
    assert steps.row["objective"] == "to_the_point"
    (prompt_row,) = interchange.rows(prompt.row)
    assert (
        prompt_row["messages"]
        == steps.row["messages"]
        == [{"role": "user", "content": "Are pears green?"}]
    )
    assert (prompt_row["domain"], prompt_row["reference"]) == ("qa", None)


@given(st.text(alphabet="ab,;.! ", min_size=1, max_size=80), st.data())
def test_piece_with_a_marked_character_is_wrong(answer: str, data: st.DataObject) -> None:
    """Compares with the definition, character by character. The joined pieces are the answer."""
    start = data.draw(st.integers(0, len(answer) - 1))
    end = data.draw(st.integers(start + 1, len(answer)))
    spans = [{"error type": "Redundant", "start": start, "end": end}]
    given_row = row(*spans, **{"prediction 1": answer})
    converted, *_ = fine_grained_rlhf.annotations(given_row, fine_grained_rlhf.Options())
    assert isinstance(converted, dict)
    assert "".join(converted["steps"]) == answer
    start_of_piece = 0
    for piece, label in zip(converted["steps"], converted["labels"], strict=True):
        inside = [start_of_piece + at for at, letter in enumerate(piece) if letter != " "]
        assert label == (0 if any(start <= at < end for at in inside) else 1)
        start_of_piece += len(piece)


def test_invalid_preference_rejects_one_comparison(tmp_path: Path) -> None:
    records = read(tmp_path, row(preference=[1, 3, 0, 2, 1, 1]))
    (rejection,) = [record.rejection for record in records if record.rejection is not None]
    assert (rejection.reason, rejection.column, len(records)) == ("off_scale", "preference", 9)


@pytest.mark.parametrize(
    ("given", "reason", "column"),
    [
        (row(question=None), "missing_key", "question"),
        (row(passages="Pear"), "wrong_type", "passages"),
        (row(passages=[["Pear", 1]]), "wrong_type", "passages"),
        (row(passages=["Pear"]), "wrong_type", "passages"),
        (row(**{"prediction 1": None}), "missing_key", "prediction 1"),
        (row(**{"prediction 4": 4}), "wrong_type", "prediction 4"),
        (row(feedback=None), "missing_key", "feedback"),
        (row(feedback={"missing-info": []}), "missing_key", "errors"),
        (row(feedback={"errors": []}), "missing_key", "missing-info"),
        (row({"error type": "Rude", "start": 0, "end": 5}), "off_scale", "error type"),
        (row({"error type": "Irrelevant", "end": 5}), "missing_key", "start"),
        (row({"error type": "Irrelevant", "start": 0, "end": 500}), "off_scale", "errors"),
        (row({"error type": "Irrelevant", "start": -1, "end": 5}), "off_scale", "errors"),
        (row({"error type": "Irrelevant", "start": 5, "end": 5}), "off_scale", "errors"),
        (row(missing=("Missing",)), "off_scale", "error type"),
        (row(preference=[1, 2]), "wrong_type", "preference"),
        (row(preference=[True] * 6), "wrong_type", "preference"),
        (row(preference=None), "missing_key", "preference"),
    ],
)
def test_invalid_rows_are_rejected(
    tmp_path: Path, given: dict[str, Any], reason: str, column: str
) -> None:
    (record,) = read(tmp_path, given)
    assert record.rejection is not None
    assert (record.rejection.reason, record.rejection.column) == (reason, column)


def test_real_data(public_data: Callable[[str], Path]) -> None:
    """500 questions with three objectives each. 384 of the 3,000 preferences are ties."""
    records = list(
        reader.read("fine_grained_rlhf", public_data("finegrained_rlhf/dev_feedback.json"), {}, {})
    )
    rows = [record.row for record in records if record.row is not None]
    assert len(rows) == len(records)
    assert Counter(converted["kind"] for converted in rows) == {"steps": 1500, "comparison": 3000}
    assert sum(converted.get("preferred") == "tie" for converted in rows) == 384
    counts = Counter(
        label
        for converted in rows
        if converted.get("objective") == "factuality"
        for label in converted["labels"]
    )
    assert 0 < counts[0] < counts[1] < counts[None]
