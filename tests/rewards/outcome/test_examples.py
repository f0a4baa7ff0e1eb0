"""Examples: which labels stand together, and what becomes of grades."""

from typing import Any

import pandas as pd
import pytest

from concord.prepared.labels import COLUMNS
from concord.rewards.outcome.examples import MOST_LEVELS, Example, Scale, Scales, examples

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


def _made(
    tokenizer: Any, *rows: dict[str, Any], margins: dict[str, float] | None = None
) -> list[Example]:
    frame = pd.DataFrame(rows)
    return examples(frame, NAMES, Scales.of(frame), tokenizer, margins or {})


@pytest.fixture
def tokenizer(tiny_tokenizer: Any) -> Any:
    tiny_tokenizer.model_max_length = 64
    return tiny_tokenizer


def test_an_answer_goes_through_the_model_once_for_all_its_labels(tokenizer: Any) -> None:
    """A ranking of abc; a pair the other way round on another objective; grades of a and c; d stands alone."""
    (first, second) = _made(
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


def test_orders_that_overlap_without_one_holding_the_other_stand_apart(tokenizer: Any) -> None:
    made = _made(tokenizer, _label("ab", [1, 2]), _label("bc", [1, 2]))
    assert [len(example.sequences) for example in made] == [2, 2]


def test_other_prompts_are_other_examples(tokenizer: Any) -> None:
    other = [{"role": "user", "content": "r"}]
    assert len(_made(tokenizer, _label("ab", [1, 2]), _label("ab", [2, 1], messages=other))) == 2


def test_margins_are_in_logits_of_the_objective(tokenizer: Any) -> None:
    rows = [
        _label("ab", [1, 2], margin=3.0),
        _label("ab", [1, 2], objective="honest", margin=3.0),
        _label("ab", [1, 2]),
    ]
    (example,) = _made(tokenizer, *rows, margins={"helpful": 0.5, "honest": 0.0})
    assert [order.margin for order in example.orders] == [1.5, 0.0, 0.0]


def test_orders_of_equal_tokens_are_left_out_aloud(
    tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two letters that the tokenizer does not know become the same unknown token."""
    made = _made(tokenizer, _label("éü", [1, 2]), _label("ab", [1, 2]))
    assert len(made) == 1
    assert "1 of 2 labels order answers that are equal token by token" in capsys.readouterr().out


def test_levels_are_the_grades_that_were_given() -> None:
    rows = [
        _label("a", [value], scale_low=1.0, scale_high=5.0) for value in (0.25, 0.75, 0.75, 1.0)
    ]
    scales = Scales.of(pd.DataFrame(rows))
    scale = Scale("helpful", 1.0, 5.0)
    assert scales.ladders == {scale: [0.25, 0.75, 1.0]}
    assert scales.shares == {scale: [0.75, 0.25]}
    assert scales.annotators == {}  # one alone has no habits that could be told from the scale


def test_a_continuous_grade_is_two_parts_of_one(tokenizer: Any) -> None:
    rows = [_label("a", [index / MOST_LEVELS]) for index in range(MOST_LEVELS + 1)]
    (example,) = _made(tokenizer, *rows)
    assert Scales.of(pd.DataFrame(rows)).shares == {
        Scale("helpful", 0.0, 1.0): [pytest.approx(0.5)]
    }
    shares: dict[int, float] = {0: 0.0, 1: 0.0}
    for grade in example.grades:
        shares[grade.level] += grade.share
    assert shares == {0: pytest.approx(6.0), 1: pytest.approx(6.0)}


def test_annotators_count_where_they_share_a_scale(tokenizer: Any) -> None:
    rows = [_label("a", [1.0]), _label("b", [0.0]), _label("a", [0.0], annotator="bo")]
    scale = Scale("helpful", 0.0, 1.0)
    assert Scales.of(pd.DataFrame(rows)).annotators == {(scale, "ada"): 2, (scale, "bo"): 1}
    made = _made(tokenizer, *rows)
    assert sorted(grade.annotator for example in made for grade in example.grades) == [1, 1, 2]
