"""Metrics of step scores against values computed by hand."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.steps import step_figures
from benchmarks.steps.labelled_steps import pairs
from benchmarks.steps.step_figures import RULES, Prior, likeliest


def solution(
    place: str, group: str, gold: list[float], steps: list[str] | None = None
) -> dict[str, object]:
    texts = steps or [f"step {number}" for number in range(len(gold))]
    wrong = 0.0 in gold
    return {
        "place": place,
        "group_id": group,
        "kind": "k",
        "steps": texts,
        "gold": np.array(gold),
        "wrong": wrong,
    }


def table(*rows: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


def test_the_three_rules_can_choose_different_steps() -> None:
    """Scores .9 .5 .4 .3: the first error is each step with probability .1, .9 * .5 = .45,
    .9 * .5 * .6 = .27 and .9 * .5 * .4 * .7 = .126. The second step is likeliest and has the
    largest decrease; the last is lowest. Scores .5 .4 .1 (1 before the first): the decreases are
    .5, .1 and .3, and the probabilities .5, .5 * .6 = .3 and .5 * .4 * .9 = .18."""
    scores = np.array([0.9, 0.5, 0.4, 0.3])
    assert [rule(scores) for rule in RULES.values()] == [1, 3, 1]
    assert [rule(np.array([0.5, 0.4, 0.1])) for rule in RULES.values()] == [0, 2, 0]
    assert [rule(np.array([0.8, 0.7, 0.1])) for rule in RULES.values()] == [2, 2, 2]


def test_likeliest_handles_scores_of_0_and_1() -> None:
    """The first 0 is chosen, not a later one."""
    assert likeliest(np.array([1.0, 0.0, 0.0, 1.0])) == 1
    assert likeliest(np.array([0.0, 1.0])) == 0


def test_correct_solutions_are_ignored() -> None:
    """The lowest step is the first error in one of the two incorrect solutions."""
    solutions = table(
        solution("1", "a", [1.0, 0.0]),
        solution("2", "b", [1.0, 1.0]),
        solution("3", "c", [0.0, np.nan, np.nan]),
    )
    scores = [np.array([0.9, 0.1]), np.array([0.1, 0.9]), np.array([0.9, 0.8, 0.7])]
    assert step_figures.hits(solutions, scores)["lowest"].tolist() == [1.0, 0.0]
    assert step_figures.mean(solutions, np.array([1.0, 0.0])).value == 0.5


PLACES = [
    ([1.0, 0.0], "two steps, second"),
    ([1.0, 0.0], "two steps, second"),
    ([1.0, 1.0, 0.0], "three steps, third"),
    ([1.0, 0.0, np.nan], "three steps, second"),
    ([1.0, 1.0, 0.0], "three steps, third"),
    ([1.0, 1.0, 1.0], "correct, so it has no first error"),
]


def test_priors() -> None:
    """First errors are at 1, 1, 2, 1, 2. The most common position is 1, and 2 for three steps. A
    solution of one step has only position 0, and there is no solution of four steps."""
    prior = Prior.of(table(*(solution(name, name, gold) for gold, name in PLACES)))
    assert (prior.overall, prior.by_steps) == (1, {2: 1, 3: 2})
    assert [prior.position(steps) for steps in (1, 2, 3, 4)] == [0, 1, 1, 1]
    assert [prior.position_given_steps(steps) for steps in (1, 2, 3, 4)] == [0, 1, 2, 1]


def test_a_prior_is_tested_on_rows_it_was_not_fitted_to() -> None:
    """Rows 0-4 have errors at 1, 1, 2, 1, 2. The prior of rows 2-4 (position 2, cut to 1 for two
    steps) finds both errors of rows 0-1. That of rows 0-1 (position 1) finds only the second of
    rows 2-4."""
    solutions = table(*(solution(name, name, gold) for gold, name in PLACES))
    folds = [(np.array([2, 3, 4]), np.array([0, 1])), (np.array([0, 1]), np.array([2, 3, 4, 5]))]
    hits = step_figures.prior_hits(solutions, folds)
    assert hits["prior"].tolist() == [1, 1, 0, 1, 0]
    assert hits["prior given steps"].tolist() == [1, 1, 0, 1, 0]
    same = step_figures.prior_hits(solutions, [(np.arange(6), np.arange(6))])
    assert same["prior given steps"].tolist() == [1, 1, 1, 0, 1]


def test_a_prior_without_training_errors_is_nan() -> None:
    solutions = table(solution("1", "a", [1.0, 0.0]), solution("2", "b", [1.0, 1.0]))
    assert np.isnan(
        step_figures.prior_hits(solutions, [(np.array([1]), np.array([0]))])["prior"]
    ).all()


def test_pairs_are_compared_by_their_worst_steps() -> None:
    """Worst steps .4, .2 are a hit, .3, .5 a miss, .2, .2 half a hit. Line 4 has no pair."""
    rows = [solution(line, f"g{line}", gold) for line in "123" for gold in ([1.0, 1.0], [1.0, 0.0])]
    solutions = table(*rows, solution("4", "g4", [1.0, 0.0]))
    scores = [[0.4, 0.9], [0.9, 0.2], [0.9, 0.3], [0.5, 0.6], [0.2, 0.3], [0.9, 0.2], [0.0, 0.0]]
    assert pairs(solutions).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert step_figures.pair_hits(
        pairs(solutions), [np.array(each) for each in scores]
    ).tolist() == [
        1.0,
        0.0,
        0.5,
    ]
    share = step_figures.pair_share(solutions, [np.array(each) for each in scores])
    assert share is not None
    assert share.value == pytest.approx(0.5)
    assert step_figures.pair_share(table(rows[1], rows[3]), [np.array([0.1, 0.2])] * 2) is None


def test_auc_uses_incorrect_solutions_and_chosen_steps() -> None:
    """In the modified solution the correct steps score .9, .8, .3 and the wrong one .5: 2 of 3. The
    first two are in the original except for their numbers; without them the AUC is 0. The low
    scores of the original are ignored."""
    original = solution("1", "a", [1.0] * 3, ["1. Add the two\n\n", "2. Halve  it\n\n", "3. so 4"])
    modified = solution(
        "1", "a", [1.0, 1.0, 0.0, 1.0], ["1. Add the two\n\n", "Step 2: Halve it\n\n", "x", "so 5"]
    )
    solutions = table(original, modified)
    scores = [np.zeros(3), np.array([0.9, 0.8, 0.5, 0.3])]
    marks = step_figures.rewritten(solutions)
    assert [each.tolist() for each in marks] == [[False] * 3, [False, False, True, True]]
    whole, chosen = (
        step_figures.area(solutions, scores),
        step_figures.area(solutions, scores, marks),
    )
    assert whole is not None
    assert chosen is not None
    assert whole.value == pytest.approx(2 / 3)
    assert chosen.value == 0.0
    assert step_figures.area(solutions.iloc[:1], scores[:1]) is None
    inverted = [-each for each in scores]
    gain, none = (step_figures.area_gain(solutions, scores, other) for other in (inverted, scores))
    assert gain is not None
    assert none is not None
    assert gain.value == pytest.approx(2 / 3 - 1 / 3)
    assert (none.value, none.low, none.high) == (0.0, 0.0, 0.0)


def test_intervals_resample_groups() -> None:
    """200 solutions of one question are one observation, so their interval has no width."""
    one_group, many_groups = (
        table(*(solution(str(n), "g" if together else str(n), [1.0, 0.0]) for n in range(200)))
        for together in (True, False)
    )
    values = np.arange(200) % 2.0
    narrow, wide = (step_figures.mean(rows, values) for rows in (one_group, many_groups))
    assert (narrow.low, narrow.high) == (0.5, 0.5)
    assert wide.low < 0.47 < 0.53 < wide.high
