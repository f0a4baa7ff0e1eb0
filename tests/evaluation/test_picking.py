"""Ways of picking one of N answers: cases by hand, windows, and what cannot be read."""

import numpy as np
import pytest

from tasks.evaluation.picking import WAYS, best_of, report, report_by_size, sizes

ANSWERS = np.array([["7", "7", "8"], ["5", "6", None]], dtype=object)
CORRECT = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
SCORES = np.array([[0.1, 0.2, 0.9], [0.1, 0.2, 0.9]])


def test_by_hand() -> None:
    """Problem 1: answers 7 7 8, 8 right and scored highest. Problem 2: 5 6 none, 5 right, none scored highest."""
    table = best_of(3, SCORES, CORRECT, ANSWERS)
    assert table["majority"].tolist() == [0.0, 1.0]
    assert table["scorer"].tolist() == [1.0, 0.0]
    assert table["weighted_vote"].tolist() == [1.0, 0.0]  # .9 against .1 + .2; .2 against .1
    assert table["oracle"].tolist() == [1.0, 1.0]
    assert table["random"].tolist() == pytest.approx([1 / 3, 1 / 3])
    assert "outcome" not in table


def test_equal_scores_make_the_weighted_vote_the_majority() -> None:
    table = best_of(3, np.full((2, 3), 0.3), CORRECT, ANSWERS)
    assert table["weighted_vote"].tolist() == table["majority"].tolist()


def test_fewer_answers_are_taken_from_every_place() -> None:
    """Of 7 7 8 the windows of two are 77, 78 and 87: the first of equals wins, so the majority is right in one."""
    table = best_of(2, SCORES[:1], CORRECT[:1], ANSWERS[:1])
    assert table["majority"].tolist() == pytest.approx([1 / 3])
    assert table["scorer"].tolist() == pytest.approx([2 / 3])
    assert table["oracle"].tolist() == pytest.approx([2 / 3])
    one = best_of(1, SCORES[:1], CORRECT[:1], ANSWERS[:1])
    assert all(one[way].tolist() == pytest.approx([1 / 3]) for way in WAYS if way in one)


@pytest.mark.parametrize(
    ("most", "found"), [(1, [1]), (2, [1, 2]), (4, [1, 2, 4]), (5, [1, 2, 4, 5]), (8, [1, 2, 4, 8])]
)
def test_sizes(most: int, found: list[int]) -> None:
    assert sizes(most) == found


def test_gains_are_paired() -> None:
    found = report(best_of(3, SCORES, CORRECT, ANSWERS), ["a", "b"], 50, 0)
    assert found["gain_of_scorer_over_majority"]["value"] == 0.0
    assert "gain_of_scorer_over_outcome" not in found


def test_beside_an_outcome_model() -> None:
    correct = np.array([[0.0, 1.0], [1.0, 0.0]])
    answers = np.array([["7", "8"], ["5", "6"]], dtype=object)
    found = report_by_size(correct, correct, answers, np.array([[1.0, 0.0]] * 2), ["a", "b"], 50, 0)
    assert (found["n"], found["questions"], list(found["by_size"])) == (2, 2, ["1", "2"])
    assert found["outcome"]["value"] == 0.5
    assert found["gain_of_scorer_over_outcome"]["value"] == 0.5
    assert found["by_size"]["1"]["gain_of_scorer_over_outcome"]["value"] == 0.0


def test_answers_that_cannot_be_read_have_no_vote_however_high_their_scores() -> None:
    answers = np.array([[None, None, "8"], [None, None, None]], dtype=object)
    table = best_of(3, np.array([[0.9, 0.9, 0.1]] * 2), CORRECT, answers)
    assert table["weighted_vote"].tolist() == [1.0, 1.0]  # where nothing can be read, the first is taken
