"""Figures of step scores by hand: rules for the first error, position priors, pairs, and areas."""

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


def test_three_rules_take_three_steps() -> None:
    """P(right) .9 .5 .4 .3: first wrong with .1, .9 * .5 = .45, .9 * .5 * .6 = .27, .9 * .5 * .4 * .7 = .126, so the
    second is likeliest, and the score falls most there; the last is lowest. From .5 (1 before the first) to .4 to .1
    the first falls by .5 and the last by .3; first wrong with .5, .5 * .6 = .3 and .5 * .4 * .9 = .18."""
    scores = np.array([0.9, 0.5, 0.4, 0.3])
    assert [rule(scores) for rule in RULES.values()] == [1, 3, 1]
    assert [rule(np.array([0.5, 0.4, 0.1])) for rule in RULES.values()] == [0, 2, 0]
    assert [rule(np.array([0.8, 0.7, 0.1])) for rule in RULES.values()] == [2, 2, 2]


def test_the_likeliest_first_error_is_found_at_certainty() -> None:
    """With scores of 0 and 1 the first 0 counts, not a later one."""
    assert likeliest(np.array([1.0, 0.0, 0.0, 1.0])) == 1
    assert likeliest(np.array([0.0, 1.0])) == 0


def test_only_solutions_with_an_error_count() -> None:
    """Of two wrong solutions the lowest step is the first error in one; the right one is not looked at."""
    found = table(
        solution("1", "a", [1.0, 0.0]),
        solution("2", "b", [1.0, 1.0]),
        solution("3", "c", [0.0, np.nan, np.nan]),
    )
    scores = [np.array([0.9, 0.1]), np.array([0.1, 0.9]), np.array([0.9, 0.8, 0.7])]
    assert step_figures.hits(found, scores)["lowest"].tolist() == [1.0, 0.0]
    assert step_figures.mean(found, np.array([1.0, 0.0])).value == 0.5


PLACES = [
    ([1.0, 0.0], "two steps, second"),
    ([1.0, 0.0], "two steps, second"),
    ([1.0, 1.0, 0.0], "three steps, third"),
    ([1.0, 0.0, np.nan], "three steps, second"),
    ([1.0, 1.0, 0.0], "three steps, third"),
    ([1.0, 1.0, 1.0], "right, so that it says nothing"),
]


def test_priors_by_hand() -> None:
    """First errors at 1, 1, 2, 1, 2: the commonest place is 1, in three steps 2; in one step only 0 can be it, and
    four steps have no solution to go by."""
    prior = Prior.of(table(*(solution(name, name, gold) for gold, name in PLACES)))
    assert (prior.overall, prior.by_steps) == (1, {2: 1, 3: 2})
    assert [prior.place(steps) for steps in (1, 2, 3, 4)] == [0, 1, 1, 1]
    assert [prior.place_given_steps(steps) for steps in (1, 2, 3, 4)] == [0, 1, 2, 1]


def test_a_prior_is_not_measured_on_what_it_was_learnt_from() -> None:
    """Rows 0-4 have errors at 1, 1, 2, 1, 2. From 2-4 (commonest 2; given two steps, which none has, 2 that ends at
    1) both of 0-1 are found. From 0-1 (place 1) only the second of 2-4 is."""
    found = table(*(solution(name, name, gold) for gold, name in PLACES))
    folds = [(np.array([2, 3, 4]), np.array([0, 1])), (np.array([0, 1]), np.array([2, 3, 4, 5]))]
    hits = step_figures.prior_hits(found, folds)
    assert hits["prior"].tolist() == [1, 1, 0, 1, 0]
    assert hits["prior given steps"].tolist() == [1, 1, 0, 1, 0]
    own = step_figures.prior_hits(found, [(np.arange(6), np.arange(6))])
    assert own["prior given steps"].tolist() == [1, 1, 1, 0, 1]


def test_without_errors_to_learn_from_a_prior_says_nothing() -> None:
    found = table(solution("1", "a", [1.0, 0.0]), solution("2", "b", [1.0, 1.0]))
    assert np.isnan(step_figures.prior_hits(found, [(np.array([1]), np.array([0]))])["prior"]).all()


def test_pairs_are_compared_by_their_worst_steps() -> None:
    """Worst steps .4 over .2 is a hit, .3 under .5 is none, .2 and .2 half a one; line 4 holds one solution only."""
    rows = [solution(line, f"g{line}", gold) for line in "123" for gold in ([1.0, 1.0], [1.0, 0.0])]
    found = table(*rows, solution("4", "g4", [1.0, 0.0]))
    scores = [[0.4, 0.9], [0.9, 0.2], [0.9, 0.3], [0.5, 0.6], [0.2, 0.3], [0.9, 0.2], [0.0, 0.0]]
    assert pairs(found).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert step_figures.pair_hits(pairs(found), [np.array(own) for own in scores]).tolist() == [
        1.0,
        0.0,
        0.5,
    ]
    share = step_figures.pair_share(found, [np.array(own) for own in scores])
    assert share is not None
    assert share.value == pytest.approx(0.5)
    assert step_figures.pair_share(table(rows[1], rows[3]), [np.array([0.1, 0.2])] * 2) is None


def test_areas_are_of_wrong_solutions_and_chosen_steps() -> None:
    """Within the modified solution right steps score .9, .8, .3 and the wrong one .5: 2 of 3. The first two stand in
    the original but for their number; without them the area is 0. The original's own low scores do not count."""
    original = solution("1", "a", [1.0] * 3, ["1. Add the two\n\n", "2. Halve  it\n\n", "3. so 4"])
    modified = solution(
        "1", "a", [1.0, 1.0, 0.0, 1.0], ["1. Add the two\n\n", "Step 2: Halve it\n\n", "x", "so 5"]
    )
    found = table(original, modified)
    scores = [np.zeros(3), np.array([0.9, 0.8, 0.5, 0.3])]
    marks = step_figures.rewritten(found)
    assert [each.tolist() for each in marks] == [[False] * 3, [False, False, True, True]]
    whole, chosen = step_figures.area(found, scores), step_figures.area(found, scores, marks)
    assert whole is not None
    assert chosen is not None
    assert whole.value == pytest.approx(2 / 3)
    assert chosen.value == 0.0
    assert step_figures.area(found.iloc[:1], scores[:1]) is None
    turned = [-own for own in scores]
    gain, none = (step_figures.area_gain(found, scores, other) for other in (turned, scores))
    assert gain is not None
    assert none is not None
    assert gain.value == pytest.approx(2 / 3 - 1 / 3)
    assert (none.value, none.low, none.high) == (0.0, 0.0, 0.0)


def test_intervals_are_of_groups() -> None:
    """Two hundred solutions of one question are one observation: their mean has no width. Each of its own has one."""
    same, own = (
        table(*(solution(str(n), "g" if together else str(n), [1.0, 0.0]) for n in range(200)))
        for together in (True, False)
    )
    values = np.arange(200) % 2.0
    together, apart = step_figures.mean(same, values), step_figures.mean(own, values)
    assert (together.low, together.high) == (0.5, 0.5)
    assert apart.low < 0.47 < 0.53 < apart.high
