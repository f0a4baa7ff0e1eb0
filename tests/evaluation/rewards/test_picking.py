"""Ways of picking one of N answers: cases by hand, windows, equals, and what cannot be read."""

from collections.abc import Sequence

import pandas as pd
import pytest

from concord.evaluation.rewards.picking import WAYS, best_of, report, report_by_size, sizes


def table(*problems: tuple[Sequence[str | None], Sequence[float], Sequence[float]]) -> pd.DataFrame:
    """Of each problem what its answers say, whether they are right, and their scores."""
    return pd.DataFrame([
        {"problem": place, "group_id": f"g{place}", "final": final, "correct": float(right), "score": score}
        for place, columns in enumerate(problems)
        for final, right, score in zip(*columns, strict=True)
    ])  # fmt: skip


FIRST = (("7", "7", "8"), (0, 0, 1), (0.1, 0.2, 0.9))
SECOND = (("5", "6", "6"), (1, 0, 0), (0.6, 0.2, 0.1))
ANSWERS = table(FIRST, SECOND)


def test_by_hand() -> None:
    """7 7 8: 8 is right and scored highest, above both 7 together. 5 6 6: 5 is."""
    found = best_of(3, ANSWERS)
    assert found["majority"].tolist() == [0.0, 0.0]
    assert found["scorer"].tolist() == [1.0, 1.0]
    assert found["weighted_vote"].tolist() == [1.0, 1.0]  # .9 against .1 + .2, .6 against .2 + .1
    assert found["oracle"].tolist() == [1.0, 1.0]
    assert found["random"].tolist() == pytest.approx([1 / 3, 1 / 3])
    assert found["group_id"].tolist() == ["g0", "g1"]
    assert "outcome" not in found


def test_equal_scores_make_the_weighted_vote_the_majority() -> None:
    found = best_of(3, ANSWERS.assign(score=0.3))
    assert found["weighted_vote"].tolist() == found["majority"].tolist()


def test_fewer_answers_are_taken_from_every_place() -> None:
    """Of 7 7 8 the windows of two are 77, 78 and 87: votes that are equal share the pick."""
    found = best_of(2, table(FIRST))
    assert found["majority"].tolist() == pytest.approx([(0 + 1 / 2 + 1 / 2) / 3])
    assert found["scorer"].tolist() == pytest.approx([2 / 3])
    assert found["oracle"].tolist() == pytest.approx([2 / 3])
    one = best_of(1, table(FIRST))
    assert all(one[way].tolist() == pytest.approx([1 / 3]) for way in WAYS if way in one)


@pytest.mark.parametrize(
    ("most", "found"), [(1, [1]), (2, [1, 2]), (4, [1, 2, 4]), (5, [1, 2, 4, 5]), (8, [1, 2, 4, 8])]
)
def test_sizes(most: int, found: list[int]) -> None:
    assert sizes(most) == found


def test_gains_are_paired() -> None:
    found = report(best_of(3, ANSWERS), 50, 0)
    assert found["gain_of_scorer_over_majority"] == {"value": 1.0, "ci_low": 1.0, "ci_high": 1.0}
    assert "gain_of_scorer_over_outcome" not in found


def test_beside_an_outcome_model() -> None:
    """It is right of the second problem alone."""
    answers = table((("7", "8"), (0, 1), (0, 1)), (("5", "6"), (1, 0), (1, 0))).assign(
        outcome=[1.0, 0.0, 1.0, 0.0]
    )
    found = report_by_size(answers, 50, 0)
    assert (found["n"], found["questions"], list(found["by_size"])) == (2, 2, ["1", "2"])
    assert found["by_size"]["2"]["outcome"]["value"] == 0.5
    assert found["by_size"]["2"]["gain_of_scorer_over_outcome"]["value"] == 0.5
    assert found["by_size"]["1"]["gain_of_scorer_over_outcome"]["value"] == 0.0


def test_what_gives_no_answer_is_not_picked_however_high_it_scores() -> None:
    """Where nobody gives one, all are alike."""
    scores = (0.9, 0.9, 0.1)
    answers = table(((None, None, "8"), (0, 0, 1), scores), ((None, None, None), (0, 0, 0), scores))
    found = best_of(3, answers.assign(outcome=answers["score"]))
    for way in ("scorer", "weighted_vote", "majority", "outcome"):
        assert found[way].tolist() == [1.0, 0.0], way
