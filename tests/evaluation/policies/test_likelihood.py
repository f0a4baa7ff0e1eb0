"""The likelihood protocol by hand, with a policy whose log-probabilities are given."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from concord.evaluation.policies.likelihood import labelled_answers, longer_is_better, pairs, score
from concord.evaluation.policies.protocol import Point
from concord.stage.errors import DataError

NAMES = ["truthful", "informative"]
POINT = Point("equal", "qa", {"truthful": 0.5, "informative": 0.5})


class Given:
    """log p = -(number of `x` in the answer) - 1; one token per letter; KL 2 for every answer."""

    def likelihood(
        self,
        messages: Sequence[Any],
        responses: Sequence[str],
        points: Sequence[Mapping[str, float]],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        logprob = np.array([-float(text.count("x")) - 1 for text in responses])
        lengths = np.array([float(len(text)) for text in responses])
        return (
            np.tile(logprob, (len(points), 1)),
            np.full((len(points), len(responses)), 2.0),
            lengths,
        )


def rating(group: str, response: str, objective: str, value: float) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": f"question {group}"}],
        "group_id": group,
        "response": response,
        "objective": objective,
        "rating": value,
    }


def test_pair_accuracy_by_hand() -> None:
    """Per token: 'yyyy' -1/4, 'xx' -3/2, 'yy' -1/2.

    truthful prefers yyyy to xx (right) and xx to yy (wrong). For informative, equal ratings are
    not paired; the single pair is right.
    """
    rows = [
        rating("g", "yyyy", "truthful", 1.0),
        rating("g", "xx", "truthful", 0.5),
        rating("g", "yy", "truthful", 0.0),
        rating("g", "yyyy", "informative", 1.0),
        rating("g", "yy", "informative", 0.0),
    ]
    answers = labelled_answers(pd.DataFrame(rows), "qa", NAMES, 5)
    units = pairs(score(Given(), answers, [POINT], "test"), NAMES)  # type: ignore[arg-type]
    assert sorted(units["gold.truthful"].dropna()) == [0.0, 1.0, 1.0]
    assert units["gold.informative"].dropna().tolist() == [1.0]
    assert units["proxy.truthful"].equals(units["gold.truthful"])


def test_answers_to_different_questions_are_not_paired() -> None:
    rows = [
        rating("g", "a", "truthful", 1.0),
        rating("h", "b", "truthful", 0.0),
        rating("h", "c", "truthful", 1.0),
    ]
    answers = labelled_answers(pd.DataFrame(rows), "qa", NAMES, 5)
    units = pairs(score(Given(), answers, [POINT], "test"), NAMES)  # type: ignore[arg-type]
    assert units["gold.truthful"].notna().sum() == 1


def test_kl_and_length_are_means_over_answers() -> None:
    """Three answers of four letters make three pairs; two answers of one letter make one."""
    rows = [
        rating("g", text, "truthful", value)
        for text, value in (("abcd", 1.0), ("efgh", 0.5), ("ijkl", 0.0))
    ]
    rows += [rating("h", "a", "truthful", 1.0), rating("h", "b", "truthful", 0.0)]
    answers = labelled_answers(pd.DataFrame(rows), "qa", NAMES, 5)
    units = pairs(score(Given(), answers, [POINT], "test"), NAMES)  # type: ignore[arg-type]
    assert units["length"].mean() == pytest.approx((3 * 4 + 2 * 1) / 5)
    assert units["kl"].dropna().tolist() == [2.0] * 5


def test_repeated_ratings_of_an_answer_are_averaged() -> None:
    rows = [
        rating("g", "a", "truthful", 1.0),
        rating("g", "a", "truthful", 0.0),
        rating("g", "b", "truthful", 0.4),
    ]
    answers = labelled_answers(pd.DataFrame(rows), "qa", NAMES, 5).set_index("response")
    assert answers.loc["a", "rating.truthful"] == 0.5
    assert answers["rating.informative"].isna().all()


def test_chosen_groups_do_not_depend_on_the_order_of_rows() -> None:
    rows = pd.DataFrame([rating(str(index), "a", "truthful", 1.0) for index in range(10)])
    one = labelled_answers(rows, "qa", NAMES, 4)["group_id"]
    two = labelled_answers(rows.iloc[::-1], "qa", NAMES, 4)["group_id"]
    assert set(one) == set(two)
    assert len(set(one)) == 4


def test_longer_is_better_by_hand() -> None:
    """The longer answer is the more truthful one in one of two pairs."""
    rows = [rating("g", "aaa", "truthful", 1.0), rating("g", "a", "truthful", 0.0)]
    rows += [rating("h", "aaa", "truthful", 0.0), rating("h", "a", "truthful", 1.0)]
    answers = labelled_answers(pd.DataFrame(rows), "qa", ["truthful"], 5)
    assert longer_is_better(answers, ["truthful"]) == {"truthful": 0.5}


def test_a_domain_without_ratings_is_an_error() -> None:
    with pytest.raises(DataError, match="no rating of truthful, informative"):
        labelled_answers(pd.DataFrame([rating("g", "a", "helpful", 1.0)]), "qa", NAMES, 5)
