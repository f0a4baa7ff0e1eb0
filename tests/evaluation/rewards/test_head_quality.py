"""Metrics of reward models by hand: pair accuracy, normalisation, grades."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from concord.evaluation.rewards.head_quality import grade_quality, normalise, pair_hits, quality
from concord.evaluation.rewards.judged_sets import Locked
from concord.objectives import Objective
from concord.sandbox.world import World
from concord.stage import outputs


def test_a_tie_is_half_right() -> None:
    assert pair_hits(np.array([1.0, 0.0, 2.0]), np.array([0.0, 1.0, 2.0])).tolist() == [
        1.0,
        0.0,
        0.5,
    ]


def test_normalised_accuracy_by_hand() -> None:
    """0.8 between 0.6 and 0.9 is two thirds of the way; without a gap it is NaN."""
    assert normalise(0.8, 0.6, 0.9) == pytest.approx(2 / 3)
    assert np.isnan(normalise(0.8, 0.9, 0.9))


def test_quality_by_hand() -> None:
    """Four pairs, three of them right.

    The longer answer wins two and ties one; p = .9 .9 .8 .4, so the ceiling is 3.2 / 4.
    """
    pairs = pd.DataFrame(
        {
            "chosen": ["aa", "bb", "c", "d"],
            "rejected": ["a", "b", "c", "dd"],
            "group_id": list("wxyz"),
            "p": [0.9, 0.9, 0.8, 0.4],
            "gold_chosen": [0.9, 0.8, 0.7, 0.6],
            "gold_rejected": [0.1, 0.2, 0.3, 0.4],
        }
    )
    result = quality(pairs, np.array([4.0, 3.0, 2.0, 0.0]), np.array([0.1, 0.2, 0.3, 1.0]), 100, 0)
    assert result["pair_accuracy"] == 0.75
    assert result["length_baseline"] == 0.625
    assert result["ceiling"] == pytest.approx(0.8)
    assert result["normalised_accuracy"] == pytest.approx(0.125 / 0.175)
    assert result["ci_low"] <= 0.75 <= result["ci_high"]
    assert 0.5 < result["gold_rank_correlation"] < 1.0


def test_human_pairs_have_no_ceiling() -> None:
    pairs = pd.DataFrame({"chosen": ["aa", "b"], "rejected": ["a", "bb"], "group_id": ["x", "y"]})
    result = quality(pairs, np.array([1.0, 1.0]), np.array([0.0, 0.0]), 20, 0)
    assert result["pair_accuracy"] == 1.0
    assert np.isnan(result["ceiling"])
    assert np.isnan(result["gold_rank_correlation"])


def test_without_pairs_all_figures_are_nan() -> None:
    pairs = pd.DataFrame({"chosen": [], "rejected": [], "group_id": []}, dtype=object)
    result = quality(pairs, np.zeros(0), np.zeros(0), 20, 0)
    assert result.pop("pairs") == 0
    assert set(result) == set(quality(pairs.assign(**PAIR), np.ones(1), np.zeros(1), 20, 0)) - {
        "pairs"
    }
    assert np.isnan(list(result.values())).all()


PAIR: dict[str, list[str]] = {"chosen": ["a"], "rejected": ["b"], "group_id": ["g"]}


def test_grades_of_single_answers_by_hand() -> None:
    """Good .2 and .9, bad .1 and .5.

    Three of four pairs are in order; by length (3 2, 2 4) one and a half. The ranks of the scores
    are 2 4 1 3, of the grades 3.5 3.5 1.5 1.5: correlation (7 + 14 + 1.5 + 4.5 - 25) / sqrt(5 * 4).
    """
    graded = pd.DataFrame({"response": ["aaa", "aa", "bb", "bbbb"], "rating": [1.0, 1.0, 0.0, 0.0]})
    graded["group_id"] = list("wxyz")
    result = grade_quality(graded, np.array([0.2, 0.9, 0.1, 0.5]), 100, 0)
    assert result is not None
    assert (result["auc"], result["length_auc"]) == (0.75, 0.375)
    assert result["rank_correlation"] == pytest.approx(2 / 20**0.5)
    assert (result["good_share"], result["grades"]) == (0.5, 4)
    assert result["ci_low"] <= 0.75 <= result["ci_high"]
    assert grade_quality(graded[:0], np.zeros(0), 100, 0) is None
    assert np.isnan(grade_quality(graded[:2], np.array([1.0, 2.0]), 100, 0)["auc"])  # type: ignore[index]


def test_gold_scores_reach_the_ceiling_on_the_locked_world() -> None:
    """A scorer that knows gold reaches the ceiling within the interval."""
    judge = Locked(
        World.build("locked", 1), 0, 5, 2, lambda messages: ["no steps here"] * len(messages)
    )
    pairs = judge.pairs("values", "helpful", 400)
    gold = [pairs[f"gold_{side}"].to_numpy() for side in ("chosen", "rejected")]
    result = quality(pairs, *gold, 200, 0)
    assert result["ci_low"] <= result["ceiling"] <= result["ci_high"]
    assert result["gold_rank_correlation"] == pytest.approx(1.0)


def test_a_wrong_step_makes_all_later_prefixes_wrong() -> None:
    """For a verified objective, the gold of a prefix is the minimum over its steps."""
    judge = Locked(
        World.build("locked", 1),
        0,
        6,
        2,
        lambda messages: ["1+1=3\n\nTherefore \\boxed{4}"] * len(messages),
    )
    objective = Objective(domain="math", description="", verifier="math_answer")
    for gold in judge.steps("math_accuracy", objective)["gold"]:
        assert (np.diff(gold) <= 0).all()
    graded = judge.graded("math_accuracy", objective)
    assert len(graded) == 12
    assert graded["problem"].tolist() == [index for index in range(6) for _ in range(2)]


def test_an_objective_without_gold_is_evaluated_on_held_out_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    messages = [{"role": "user", "content": "Hello?"}]
    pairs = pd.DataFrame(
        {
            "messages": [messages] * 3,
            "objective": ["kind", "kind", "other"],
            "chosen": list("abc"),
            "rejected": list("xyz"),
            "group_id": list("123"),
        }
    )
    outputs.write_table("data/prepared/rewards/kind/test.parquet", pairs)
    judge = Locked(World.build("locked", 1), 0, 5, 2, lambda messages: [])
    assert sorted(judge.pairs("kind", "kind", 10)["chosen"]) == ["a", "b"]
    assert np.isnan(
        quality(judge.pairs("kind", "kind", 10), np.ones(2), np.zeros(2), 20, 0)["ceiling"]
    )
