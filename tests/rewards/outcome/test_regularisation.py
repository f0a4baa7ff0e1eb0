"""The strength of each head is chosen on held-out groups."""

import numpy as np
import pytest

from concord.rewards.outcome.examples import Example, Grade, Order, Scale, Scales
from concord.rewards.outcome.probe_fit import fit_heads
from concord.rewards.outcome.regularisation import (
    FALLBACK,
    GRID,
    Choice,
    choose,
    choose_for,
    held_out_groups,
)

WIDTH = 60


def problem(
    noises: list[float], groups: int = 60, seed: int = 0
) -> tuple[np.ndarray, list[Example], np.ndarray]:
    """Two pairs per group and head; feature 0 decides which answer is better, apart from noise."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(4 * groups * len(noises), WIDTH)).astype(np.float32)
    examples = []
    for first in range(0, len(features), 2):
        head = (first // 2) % len(noises)
        gap = features[first, 0] - features[first + 1, 0] + noises[head] * random.normal()
        order = Order(head, (0, 1) if gap > 0 else (1, 0), (1.0, 2.0), 0.0)
        group = f"g{first // 4 // len(noises)}"
        examples.append(Example([[0], [0]], [order], [], group))
    return features, examples, np.sign(features[::2, 0] - features[1::2, 0])


def test_heads_with_noisier_labels_are_regularised_more() -> None:
    features, examples, _ = problem([0.1, 8.0])
    choice = choose_for(features, examples, Scales(), ["clean", "noisy"])
    assert choice.l2[0] < choice.l2[1]
    for name, l2 in zip(choice.names, choice.l2, strict=True):
        assert min(choice.curves[name], key=lambda key: choice.curves[name][key]) == l2


def test_the_chosen_strength_beats_the_fixed_one_on_new_pairs() -> None:
    """With 60 features and 120 pairs with noise, l2 1 fits noise."""
    features, examples, _ = problem([2.0])
    choice = choose_for(features, examples, Scales(), ["a"])
    fresh, _, truth = problem([0.0], groups=500, seed=1)
    accuracy = {}
    for l2 in (1.0, float(choice.l2[0])):
        weight = fit_heads(features, examples, Scales(), 1, l2)[0]["weight"][0]
        scores = fresh @ weight
        accuracy[l2] = float((np.sign(scores[::2] - scores[1::2]) == truth).mean())
    assert choice.l2[0] > 1.0
    assert accuracy[float(choice.l2[0])] > accuracy[1.0] + 0.02


def test_no_group_is_on_both_sides_and_a_fifth_is_held_out() -> None:
    features, examples, _ = problem([1.0])
    sides: list[set[str]] = []

    def part(groups: set[str]) -> object:
        sides.append(groups)
        raise StopIteration

    names = {example.group for example in examples}
    held_out = held_out_groups(names)
    assert len(held_out) == 12
    assert held_out_groups(sorted(names, reverse=True)) == held_out
    with pytest.raises(StopIteration):
        choose(names, part, Scales(), ["a"])  # type: ignore[arg-type]
    assert sides == [names - held_out]
    del features


def test_held_out_labels_change_the_choice_and_only_it() -> None:
    """The heads on the grid are fitted to the other groups: their labels alone decide the fit."""
    features, examples, _ = problem([1.0])
    held_out = held_out_groups({example.group for example in examples})
    reversed_labels = [
        example._replace(
            orders=[example.orders[0]._replace(members=example.orders[0].members[::-1])]
        )
        if example.group in held_out
        else example
        for example in examples
    ]
    one = choose_for(features, examples, Scales(), ["a"])
    other = choose_for(features, reversed_labels, Scales(), ["a"])
    assert one.l2[0] < other.l2[0]
    assert other.edge("a") == "strongest"


def test_an_edge_of_the_grid_is_said() -> None:
    at_edge = Choice(["a"], np.array([GRID[0]]), {"a": {GRID[0]: 0.5, 1e5: 0.6}}, (2, 10))
    assert at_edge.report()["a"]["edge"] == "strongest"
    assert "this is the strongest l2 of the grid" in at_edge.lines()[1]
    weakest = Choice(["a"], np.array([GRID[-1]]), {"a": {1.0: 0.6, GRID[-1]: 0.5}}, (2, 10))
    assert weakest.report()["a"]["edge"] == "weakest"
    inside = Choice(["a"], np.array([10.0]), {"a": {10.0: 0.5, 1.0: 0.6}}, (2, 10))
    assert inside.report()["a"] == {
        "l2": 10.0,
        "curve": {"1": 0.6, "10": 0.5},
        "edge": None,
        "held_out_groups": 2,
        "groups": 10,
    }
    assert len(inside.lines()) == 1


def test_the_curve_is_wide_and_dense_around_the_best() -> None:
    features, examples, _ = problem([1.0])
    choice = choose_for(features, examples, Scales(), ["a"])
    tried = sorted(choice.curves["a"])
    assert tried[-1] == GRID[0] == 1e6
    best = tried.index(choice.l2[0])
    ratios = np.array(tried[1:]) / np.array(tried[:-1])
    assert ratios[max(0, best - 1) : best + 1].max() < 3.2


def test_grades_are_held_out_too() -> None:
    """Grades of a level that no fitted grade has are not counted: it has no threshold."""
    random = np.random.default_rng(0)
    features = random.normal(size=(300, 20)).astype(np.float32)
    scale = Scale("a", 1.0, 3.0)
    groups = [f"g{row % 50}" for row in range(300)]
    held_out = held_out_groups(groups)
    level = (features[:, 0] > 0).astype(int)
    rare = next(row for row, group in enumerate(groups) if group in held_out)
    level[rare] = 2
    examples = [
        Example([[0]], [], [Grade(0, 0, 0, int(level[row]), 1.0, 0)], groups[row])
        for row in range(300)
    ]
    scales = Scales({scale: [0.0, 0.5, 1.0]}, {scale: [0.5, 0.01]}, {})
    choice = choose_for(features, examples, scales, ["a"])
    assert max(choice.curves["a"].values()) < 1.0
    assert choice.l2[0] < GRID[0]


@pytest.mark.parametrize("groups", [3, 9])
def test_too_few_groups_for_a_choice(groups: int) -> None:
    features, examples, _ = problem([1.0], groups=groups)
    choice = choose_for(features, examples, Scales(), ["a"])
    assert choice.l2.tolist() == [FALLBACK]
    assert choice.report()["a"]["curve"] == {}
    assert "too few groups" in choice.lines()[0]


def test_a_head_without_held_out_labels_is_not_chosen() -> None:
    features, examples, _ = problem([1.0, 1.0])
    held_out = held_out_groups({example.group for example in examples})
    kept = [
        example._replace(orders=[])
        if example.group in held_out and example.orders[0].head == 1
        else example
        for example in examples
    ]
    choice = choose_for(features, kept, Scales(), ["a", "b"])
    assert choice.l2[1] == FALLBACK
    assert set(choice.curves) == {"a"}
    assert np.isfinite(list(choice.curves["a"].values())).all()
