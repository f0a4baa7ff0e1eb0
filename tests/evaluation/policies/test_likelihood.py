"""The likelihood protocol by hand, with a policy whose log-probabilities are given."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from concord.evaluation.policies.likelihood import (
    Labels,
    grades,
    labelled_answers,
    longer_is_better,
    pairs,
    score,
)
from concord.evaluation.policies.protocol import Point
from concord.stage import outputs
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
        "kind": "rating",
    }


def compared(group: str, chosen: str, rejected: str, objective: str) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": f"question {group}"}],
        "group_id": group,
        "chosen": chosen,
        "rejected": rejected,
        "objective": objective,
        "origin": "comparisons",
    }


def ranked(group: str, answers: Sequence[str], objective: str, line: int = 1) -> list[Any]:
    """One ranking, the best answer first."""
    place = {"source": "s", "source_file": "", "source_line": line, "annotator": "x"}
    scale = {"scale_low": len(answers), "scale_high": 1, "author": None, "kind": "ranking"}
    return [
        {
            **rating(group, answer, objective, 1 - number / (len(answers) - 1)),
            **place,
            **scale,
            "raw_rating": number + 1,
        }
        for number, answer in enumerate(answers)
    ]


def labels(ratings: Sequence[Any] = (), pairs: Sequence[Any] = ()) -> Labels:
    return Labels(
        pd.DataFrame(ratings, columns=None if ratings else list(rating("", "", "", 0))),
        pd.DataFrame(pairs, columns=None if pairs else list(compared("", "", "", ""))),
    )


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
    answers = labelled_answers(labels(rows), "qa", NAMES, 5)
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
    answers = labelled_answers(labels(rows), "qa", NAMES, 5)
    units = pairs(score(Given(), answers, [POINT], "test"), NAMES)  # type: ignore[arg-type]
    assert units["gold.truthful"].notna().sum() == 1


def test_kl_and_length_are_means_over_answers() -> None:
    """Three answers of four letters make three pairs; two answers of one letter make one."""
    rows = [
        rating("g", text, "truthful", value)
        for text, value in (("abcd", 1.0), ("efgh", 0.5), ("ijkl", 0.0))
    ]
    rows += [rating("h", "a", "truthful", 1.0), rating("h", "b", "truthful", 0.0)]
    answers = labelled_answers(labels(rows), "qa", NAMES, 5)
    units = pairs(score(Given(), answers, [POINT], "test"), NAMES)  # type: ignore[arg-type]
    assert units["length"].mean() == pytest.approx((3 * 4 + 2 * 1) / 5)
    assert units["kl"].dropna().tolist() == [2.0] * 5


def test_repeated_ratings_of_an_answer_are_averaged() -> None:
    rows = [
        rating("g", "a", "truthful", 1.0),
        rating("g", "a", "truthful", 0.0),
        rating("g", "b", "truthful", 0.4),
    ]
    answers = labelled_answers(labels(rows), "qa", NAMES, 5).set_index("response")
    assert answers.loc["a", "rating.truthful"] == 0.5
    assert answers["rating.informative"].isna().all()


def test_chosen_groups_do_not_depend_on_the_order_of_rows() -> None:
    rows = [rating(str(index), "a", "truthful", 1.0) for index in range(10)]
    one = labelled_answers(labels(rows), "qa", NAMES, 4)["group_id"]
    two = labelled_answers(labels(rows[::-1]), "qa", NAMES, 4)["group_id"]
    assert set(one) == set(two)
    assert len(set(one)) == 4


def test_longer_is_better_by_hand() -> None:
    """The longer answer is the more truthful one in one of two pairs."""
    rows = [rating("g", "aaa", "truthful", 1.0), rating("g", "a", "truthful", 0.0)]
    rows += [rating("h", "aaa", "truthful", 0.0), rating("h", "a", "truthful", 1.0)]
    answers = labelled_answers(labels(rows), "qa", ["truthful"], 5)
    assert longer_is_better(answers, ["truthful"]) == {"truthful": 0.5}


def test_a_domain_without_labels_is_an_error() -> None:
    with pytest.raises(DataError, match="no label of truthful, informative"):
        labelled_answers(labels([rating("g", "a", "helpful", 1.0)]), "qa", NAMES, 5)


def judged_pairs(given: Labels) -> dict[str, list[float]]:
    answers = labelled_answers(given, "qa", NAMES, 5)
    units = pairs(score(Given(), answers, [POINT], "test"), NAMES)  # type: ignore[arg-type]
    return {name: sorted(units[f"gold.{name}"].dropna()) for name in NAMES}


def test_comparisons_alone_are_judged() -> None:
    """Per token: 'yyyy' -1/4, 'xx' -3/2, 'yy' -1/2. Answers of different pairs are not compared."""
    rows = [
        compared("g", "yyyy", "xx", "truthful"),  # right
        compared("g", "xx", "yy", "truthful"),  # wrong
        compared("g", "yy", "y", "informative"),  # right
        compared("h", "xx", "y", "informative"),  # wrong
    ]
    assert judged_pairs(labels(pairs=rows)) == {"truthful": [0.0, 1.0], "informative": [0.0, 1.0]}


def test_ratings_rankings_and_comparisons_are_judged_together() -> None:
    """truthful: one pair by ratings, one by a comparison of other answers, three by a ranking of
    three. Grades of a ranking are not compared with ratings.
    """
    given = labels(
        [
            rating("g", "yyyy", "truthful", 0.6),
            rating("g", "xx", "truthful", 0.5),
            *ranked("h", ["y", "xx", "xxxx"], "truthful"),
            *ranked("g", ["yy", "xxx"], "truthful"),
        ],
        [compared("g", "x", "y", "truthful")],
    )
    # g: yyyy over xx and yy over xxx are right, x over y is wrong. h: xx over xxxx is wrong (per
    # token -3/2 and -5/4), and the other two are right.
    assert judged_pairs(given)["truthful"] == [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]


def test_the_majority_decides_about_a_pair_and_a_tie_makes_none() -> None:
    """Ratings prefer yyyy, and so does one of two annotators who compared: two votes against one.
    On informative, the two annotators disagree.
    """
    rows = [rating("g", "yyyy", "truthful", 1.0), rating("g", "xx", "truthful", 0.0)]
    opposed = [("yyyy", "xx"), ("xx", "yyyy")]
    stated = [compared("g", *pair, name) for name in NAMES for pair in opposed]
    assert judged_pairs(labels(rows, stated)) == {"truthful": [1.0], "informative": []}


def test_grades_are_ratings_or_the_share_of_won_comparisons() -> None:
    rows = [rating("g", "a", "truthful", 0.7), *ranked("h", ["b", "c", "d"], "truthful")]
    stated = [compared("g", "e", "a", "truthful"), compared("i", "f", "a", "truthful")]
    answers = labelled_answers(labels(rows, stated), "qa", NAMES, 5)
    graded = {
        (group, response): grade
        for group, response, grade in zip(
            answers["group_id"], answers["response"], grades(answers, "truthful"), strict=True
        )
    }
    assert graded == {
        ("g", "a"): 0.7, ("g", "e"): 1.0, ("h", "b"): 1.0, ("h", "c"): 0.5, ("h", "d"): 0.0,
        ("i", "f"): 1.0, ("i", "a"): 0.0,
    }  # fmt: skip
    assert np.isnan(grades(answers, "informative")).all()


def test_labels_survive_the_table_of_samples(tmp_path: Path) -> None:
    """`select` and `front` read the pairs from the saved table."""
    answers = labelled_answers(
        labels(pairs=[compared("g", "yyyy", "xx", "truthful")]), "qa", NAMES, 5
    )
    scored = score(Given(), answers, [POINT], "test")  # type: ignore[arg-type]
    outputs.write_table(tmp_path / "samples.parquet", scored)
    saved = outputs.read_table(tmp_path / "samples.parquet")
    assert pairs(saved, NAMES)["gold.truthful"].dropna().tolist() == [1.0]
