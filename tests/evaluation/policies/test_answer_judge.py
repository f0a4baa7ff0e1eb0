"""A judge of answers: learns from ratings of other questions only, and says how well."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from concord.evaluation.policies.answer_judge import AnswerJudge, fold_of
from concord.stage.errors import DataError

NOUNS = ("rain", "snow", "iron", "gold", "wheat", "sand", "milk", "salt", "wool", "glass")


def rated(questions: int = 40) -> pd.DataFrame:
    """Two answers per question. `kind` answers say please; `brief` ratings are opposed."""
    rows = [
        {
            "messages": [{"role": "user", "content": f"What is {NOUNS[number % 10]} {number}?"}],
            "group_id": f"g{number}",
            "prompt_id": f"p{number}",
            "domain": "chat",
            "response": f"{start} {NOUNS[number % 10]} {number}.",
            "rating.kind": kind,
            "rating.brief": 1 - kind,
        }
        for number in range(questions)
        for start, kind in (("Please see, it is", 1.0), ("It is", 0.0))
    ]
    return pd.DataFrame(rows)


def folds(table: pd.DataFrame) -> dict[str, int]:
    return fold_of(table["group_id"], 4)


def test_folds_have_equal_sizes_and_do_not_depend_on_the_order() -> None:
    groups = [f"g{number}" for number in range(10)]
    one = fold_of(groups, 3)
    assert one == fold_of([*reversed(groups), *groups], 3)
    assert sorted(np.bincount(list(one.values()))) == [3, 3, 4]


def test_fewer_groups_than_folds_is_an_error() -> None:
    with pytest.raises(DataError, match=r"2 held-out groups .* 3 folds .* evaluate\.judge\.folds"):
        fold_of(["a", "b", "a"], 3)


def test_it_agrees_with_ratings_that_it_has_not_seen() -> None:
    """`Please` is rated kind in every fold. The longer answer is always kind and never brief."""
    table = rated()
    agreement = AnswerJudge(table, ["kind", "brief"], folds(table)).agreement(50, 0)
    for name, longer in (("kind", 1.0), ("brief", 0.0)):
        assert agreement[name]["value"] == agreement[name]["low"] == 1.0
        assert agreement[name]["pairs"] == 40
        assert agreement[name]["longer"] == longer


def test_ratings_of_the_own_fold_are_not_used() -> None:
    """With every rating of one fold inverted, the scores of that fold stay the same."""
    table = rated()
    fold = folds(table)
    inverted = table.copy()
    rows = (table["group_id"].map(fold) == 0).to_numpy()
    inverted.loc[rows, "rating.kind"] = 1 - table.loc[rows, "rating.kind"]
    one, other = (AnswerJudge(t, ["kind"], fold).scores(table)["kind"] for t in (table, inverted))
    np.testing.assert_allclose(one[rows], other[rows], atol=1e-9)
    assert np.abs(one[~rows] - other[~rows]).max() > 0.01


def test_noise_ratings_give_no_agreement() -> None:
    table = rated()
    noise = np.random.default_rng(0).permutation(table["rating.kind"])
    agreement = AnswerJudge(table.assign(**{"rating.kind": noise}), ["kind"], folds(table))
    figures = agreement.agreement(200, 0)["kind"]
    assert figures["low"] < 0.5 < figures["high"]


def test_embeddings_are_read_with_the_question() -> None:
    """Answers are anonymous words: only whether they match the question tells their rating."""

    def embed(texts: Sequence[str]) -> np.ndarray:
        vectors = np.zeros((len(texts), len(NOUNS)))
        for row, text in enumerate(texts):
            for column, noun in enumerate(NOUNS):
                vectors[row, column] = float(noun in text)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)

    rows = [
        {
            "messages": [{"role": "user", "content": f"{NOUNS[number % 10]}?"}],
            "group_id": f"g{number}", "prompt_id": f"p{number}", "domain": "chat",
            "response": NOUNS[(number + shift) % 10], "rating.on_topic": float(shift == 0),
        }
        for number in range(60)
        for shift in (0, 3)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    blind, reads = (
        AnswerJudge(table, ["on_topic"], folds(table), way).agreement(50, 0)["on_topic"]["value"]
        for way in (None, embed)
    )
    assert reads == 1.0
    assert blind < 0.7


def test_equal_ratings_are_an_error() -> None:
    table = rated().assign(**{"rating.kind": 1.0})
    with pytest.raises(DataError, match="labels of kind are all equal or"):
        AnswerJudge(table, ["kind"], folds(table))
