"""Training examples: which labels share an example, and how grades are represented."""

from typing import Any

import pandas as pd
import pytest

from concord.prepared.labels import COLUMNS
from concord.rewards.outcome.examples import MAX_LEVELS, Example, Scale, Scales, examples

NAMES = ["helpful", "honest"]


def _label(responses: str, values: list[float], **changed: Any) -> dict[str, Any]:
    base: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    kind = "grade" if len(responses) == 1 else "order"
    base |= {
        "messages": [{"role": "user", "content": "q"}],
        "objective": "helpful",
        "annotator": "ada",
        "kind": kind,
    }
    base |= {"margin": float("nan"), "scale_low": 0.0, "scale_high": 1.0}
    return {**base, "responses": [letter * 3 for letter in responses], "values": values, **changed}


def _examples(
    tokenizer: Any, *rows: dict[str, Any], margins: dict[str, float] | None = None
) -> list[Example]:
    frame = pd.DataFrame(rows)
    return examples(frame, NAMES, Scales.from_labels(frame), tokenizer, margins or {})


@pytest.fixture
def tokenizer(tiny_tokenizer: Any) -> Any:
    tiny_tokenizer.model_max_length = 64
    return tiny_tokenizer


def test_all_labels_of_a_response_share_one_example(tokenizer: Any) -> None:
    """A ranking of abc, a reversed pair on another objective, grades of a and c; d is separate."""
    (first, second) = _examples(
        tokenizer,
        _label("ba", [1, 2], objective="honest"),
        _label("a", [1.0]),
        _label("abc", [1, 2, 3]),
        _label("c", [0.0], objective="honest"),
        _label("d", [0.0]),
    )
    assert len(first.sequences) == 3
    assert [(order.head, order.members, order.ranks) for order in first.orders] == [
        (0, (0, 1, 2), (1, 2, 3)),
        (1, (1, 0), (1, 2)),
    ]
    assert [(grade.head, grade.member) for grade in first.grades] == [(0, 0), (1, 2)]
    assert (len(second.sequences), second.orders, len(second.grades)) == (1, [], 1)


def test_partly_overlapping_orders_are_separate_examples(tokenizer: Any) -> None:
    result = _examples(tokenizer, _label("ab", [1, 2]), _label("bc", [1, 2]))
    assert [len(example.sequences) for example in result] == [2, 2]


def test_different_prompts_are_different_examples(tokenizer: Any) -> None:
    other = [{"role": "user", "content": "r"}]
    assert (
        len(_examples(tokenizer, _label("ab", [1, 2]), _label("ab", [2, 1], messages=other))) == 2
    )


def test_margins_are_converted_to_logits_per_objective(tokenizer: Any) -> None:
    rows = [
        _label("ab", [1, 2], margin=3.0),
        _label("ab", [1, 2], objective="honest", margin=3.0),
        _label("ab", [1, 2]),
    ]
    (example,) = _examples(tokenizer, *rows, margins={"helpful": 0.5, "honest": 0.0})
    assert [order.margin for order in example.orders] == [1.5, 0.0, 0.0]


def test_orders_of_responses_with_equal_tokens_are_dropped_with_a_message(
    tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two letters unknown to the tokenizer become the same token."""
    result = _examples(tokenizer, _label("éü", [1, 2]), _label("ab", [1, 2]))
    assert len(result) == 1
    assert (
        "dropped 1 of 2 labels: the responses that they order have the same tokens"
        in capsys.readouterr().out
    )


def test_levels_are_the_distinct_grades() -> None:
    rows = [
        _label("a", [value], scale_low=1.0, scale_high=5.0) for value in (0.25, 0.75, 0.75, 1.0)
    ]
    scales = Scales.from_labels(pd.DataFrame(rows))
    scale = Scale("helpful", 1.0, 5.0)
    assert scales.ladders == {scale: [0.25, 0.75, 1.0]}
    assert scales.shares == {scale: [0.75, 0.25]}
    assert scales.annotators == {}  # A single annotator has no severity.


def test_a_continuous_grade_is_split_into_two_weighted_grades(tokenizer: Any) -> None:
    rows = [_label("a", [index / MAX_LEVELS]) for index in range(MAX_LEVELS + 1)]
    (example,) = _examples(tokenizer, *rows)
    assert Scales.from_labels(pd.DataFrame(rows)).shares == {
        Scale("helpful", 0.0, 1.0): [pytest.approx(0.5)]
    }
    shares: dict[int, float] = {0: 0.0, 1: 0.0}
    for grade in example.grades:
        shares[grade.level] += grade.share
    assert shares == {0: pytest.approx(6.0), 1: pytest.approx(6.0)}


def test_annotators_are_listed_if_they_share_a_scale(tokenizer: Any) -> None:
    rows = [_label("a", [1.0]), _label("b", [0.0]), _label("a", [0.0], annotator="bo")]
    scale = Scale("helpful", 0.0, 1.0)
    assert Scales.from_labels(pd.DataFrame(rows)).annotators == {
        (scale, "ada"): 2,
        (scale, "bo"): 1,
    }
    result = _examples(tokenizer, *rows)
    assert sorted(grade.annotator for example in result for grade in example.grades) == [1, 1, 2]
