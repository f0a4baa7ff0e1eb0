"""Methods of picking one of N answers: by hand, windows, ties, and missing final answers."""

from collections.abc import Sequence

import pandas as pd
import pytest

from concord.evaluation.rewards.picking import WAYS, best_of, report, report_by_size, sizes


def table(*problems: tuple[Sequence[str | None], Sequence[float], Sequence[float]]) -> pd.DataFrame:
    """Per problem: final answers, whether they are right, and their scores."""
    return pd.DataFrame(
        [
            {
                "problem": index,
                "group_id": f"g{index}",
                "final": final,
                "correct": float(right),
                "score": score,
            }
            for index, columns in enumerate(problems)
            for final, right, score in zip(*columns, strict=True)
        ]
    )


FIRST = (("7", "7", "8"), (0, 0, 1), (0.1, 0.2, 0.9))
SECOND = (("5", "6", "6"), (1, 0, 0), (0.6, 0.2, 0.1))
ANSWERS = table(FIRST, SECOND)


def test_by_hand() -> None:
    """7 7 8: 8 is right, with a higher score than both 7s together. 5 6 6: the same for 5."""
    result = best_of(3, ANSWERS)
    assert result["majority"].tolist() == [0.0, 0.0]
    assert result["scorer"].tolist() == [1.0, 1.0]
    assert result["weighted_vote"].tolist() == [1.0, 1.0]  # .9 against .1 + .2, .6 against .2 + .1
    assert result["oracle"].tolist() == [1.0, 1.0]
    assert result["random"].tolist() == pytest.approx([1 / 3, 1 / 3])
    assert result["group_id"].tolist() == ["g0", "g1"]
    assert "outcome" not in result


def test_equal_scores_make_the_weighted_vote_the_majority() -> None:
    result = best_of(3, ANSWERS.assign(score=0.3))
    assert result["weighted_vote"].tolist() == result["majority"].tolist()


def test_windows_start_at_every_answer() -> None:
    """The windows of two in 7 7 8 are 77, 78 and 87. Ties are split evenly."""
    result = best_of(2, table(FIRST))
    assert result["majority"].tolist() == pytest.approx([(0 + 1 / 2 + 1 / 2) / 3])
    assert result["scorer"].tolist() == pytest.approx([2 / 3])
    assert result["oracle"].tolist() == pytest.approx([2 / 3])
    one = best_of(1, table(FIRST))
    assert all(one[way].tolist() == pytest.approx([1 / 3]) for way in WAYS if way in one)


@pytest.mark.parametrize(
    ("most", "result"),
    [(1, [1]), (2, [1, 2]), (4, [1, 2, 4]), (5, [1, 2, 4, 5]), (8, [1, 2, 4, 8])],
)
def test_sizes(most: int, result: list[int]) -> None:
    assert sizes(most) == result


def test_gains_are_paired() -> None:
    result = report(best_of(3, ANSWERS), 50, 0)
    assert result["gain_of_scorer_over_majority"] == {"value": 1.0, "ci_low": 1.0, "ci_high": 1.0}
    assert "gain_of_scorer_over_outcome" not in result


def test_comparison_with_an_outcome_model() -> None:
    """The outcome model is right only on the second problem."""
    answers = table((("7", "8"), (0, 1), (0, 1)), (("5", "6"), (1, 0), (1, 0))).assign(
        outcome=[1.0, 0.0, 1.0, 0.0]
    )
    result = report_by_size(answers, 50, 0)
    assert (result["n"], result["questions"], list(result["by_size"])) == (2, 2, ["1", "2"])
    assert result["by_size"]["2"]["outcome"]["value"] == 0.5
    assert result["by_size"]["2"]["gain_of_scorer_over_outcome"]["value"] == 0.5
    assert result["by_size"]["1"]["gain_of_scorer_over_outcome"]["value"] == 0.0


def test_responses_without_an_answer_rank_last() -> None:
    """If no response has a final answer, all are equal."""
    scores = (0.9, 0.9, 0.1)
    answers = table(((None, None, "8"), (0, 0, 1), scores), ((None, None, None), (0, 0, 0), scores))
    result = best_of(3, answers.assign(outcome=answers["score"]))
    for way in ("scorer", "weighted_vote", "majority", "outcome"):
        assert result[way].tolist() == [1.0, 0.0], way
