"""Training pairs from rollouts and from annotations."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from concord.objectives import Objective
from concord.policies import training_pairs as pairs
from concord.policies.reference_logprobs import encode_pairs
from concord.policies.training_pairs import Pair
from concord.rewards.vector.anchors import Anchor, Anchors
from concord.stage.errors import DataError, ParamsError

OBJECTIVES = {
    "helpful": Objective(domain="values", description="", reward="values"),
    "harmless": Objective(domain="values", description="", reward="values"),
    "vivid": Objective(domain="math", description="", reward="math"),
}
ANCHORS = Anchors(
    {
        "helpful": Anchor(0.0, 1.0, 1, 9),
        "harmless": Anchor(5.0, 2.0, 1, 9),
        "vivid": Anchor(1.0, 1.0, -1, 9),
    }
)
ASK = [{"role": "user", "content": "q"}]
NAN = float("nan")


def frame(*rows: tuple[str, float, float, float], **columns: Any) -> pd.DataFrame:
    """Samples (response, helpful, harmless, vivid) of one prompt of the values domain."""
    table = pd.DataFrame(rows, columns=["response", "raw.helpful", "raw.harmless", "raw.vivid"])
    constants = {"prompt_id": "p", "domain": "values", "finished": True, **columns}
    return table.assign(**constants, messages=[ASK] * len(rows), sample=range(len(rows)))


FOUR = frame(
    ("A", 1.0, 5.0, NAN), ("B", 2.0, 1.0, NAN), ("C", -1.0, 9.0, NAN), ("D", 2.0, 5.0, NAN)
)


def of(name: str, table: pd.DataFrame = FOUR, gap: float = 0.5) -> list[Pair]:
    return pairs.by_objective(table, OBJECTIVES, [name], ANCHORS, gap)[name]


def test_best_and_worst_by_each_objective() -> None:
    """helpful: B (2, before D) over C (-1). harmless, anchored: C (2) over B (-2)."""
    assert of("helpful") == [Pair(ASK, "B", "C")]
    assert of("harmless") == [Pair(ASK, "C", "B")]


def test_the_gap_is_in_anchored_units() -> None:
    """The range of helpful is 3; that of harmless is 8 raw and 4 anchored."""
    assert of("helpful", gap=3.0)
    assert not of("helpful", gap=3.1)
    assert of("harmless", gap=4.0)
    assert not of("harmless", gap=4.1)
    equal = frame(("A", 1.0, 5.0, NAN), ("B", 1.0, 5.0, NAN))
    assert not of("helpful", equal, gap=0.0)


def test_several_pairs_of_a_prompt() -> None:
    """helpful is 1, 2, -1, 2: B over C, then D over A; no third pair, as A is not above D."""
    groups = pairs.by_objective(FOUR, OBJECTIVES, ["helpful"], ANCHORS, 0.5, per_prompt=3)
    assert groups["helpful"] == [Pair(ASK, "B", "C"), Pair(ASK, "D", "A")]
    one = pairs.by_objective(FOUR, OBJECTIVES, ["helpful"], ANCHORS, 1.5, per_prompt=3)
    assert one["helpful"] == [Pair(ASK, "B", "C")]
    mix = np.array([[0.0, 1.0]])
    mixed = pairs.by_mix(FOUR, "values", ["harmless", "helpful"], ANCHORS, 0.0, lambda _: mix, 2)
    assert [(pair.chosen, pair.rejected) for pair in mixed] == [("B", "C"), ("D", "A")]


def test_lower_is_better_for_a_cost() -> None:
    """The anchor of vivid has direction -1."""
    table = frame(("A", NAN, NAN, 3.0), ("B", NAN, NAN, 7.0), domain="math")
    assert of("vivid", table) == [Pair(ASK, "A", "B")]


def test_unfinished_and_unscored_samples_are_ignored() -> None:
    assert of("helpful", FOUR.assign(finished=[True, False, True, False])) == [Pair(ASK, "A", "C")]
    assert of("helpful", FOUR.assign(**{"raw.helpful": [NAN, 2.0, NAN, 1.0]})) == [
        Pair(ASK, "B", "D")
    ]
    assert of("helpful", FOUR.assign(finished=False)) == []


def test_weights_are_matched_by_name() -> None:
    """The order of the weights does not matter.

    Anchored, helpful is 1, 2, -1, 2 and harmless is 0, -2, 2, 0. With .75 helpful + .25 harmless, D
    (1.5) wins over C (-.25). With the weights swapped, C (1.25) wins over B (-1).
    """
    for weights in (
        {"helpful": 0.75, "harmless": 0.25, "vivid": 1.0},
        {"vivid": 2.0, "harmless": 1.0, "helpful": 3.0},
    ):
        for objectives in (OBJECTIVES, dict(reversed(OBJECTIVES.items()))):
            score = pairs.weighted_reward(weights, objectives, ANCHORS, "w")
            np.testing.assert_allclose(score(FOUR), [0.75, 1.0, -0.25, 1.5])
            assert pairs.by_domain(FOUR, score, 0.5) == {"values": [Pair(ASK, "D", "C")]}
    score = pairs.weighted_reward(
        {"helpful": 0.25, "harmless": 0.75, "vivid": 1.0}, OBJECTIVES, ANCHORS, "w"
    )
    assert pairs.by_domain(FOUR, score, 0.5) == {"values": [Pair(ASK, "C", "B")]}


def test_the_gap_of_a_weighted_sum_is_in_its_own_units() -> None:
    """The sum is .75, 1, -.25, 1.5, so its standard deviation is .736 and its range 1.75."""
    weights = {"helpful": 0.75, "harmless": 0.25, "vivid": 1.0}
    score = pairs.weighted_reward(weights, OBJECTIVES, ANCHORS, "w")
    assert pairs.by_domain(FOUR, score, 2.37)["values"]
    assert not pairs.by_domain(FOUR, score, 2.39)["values"]


def test_a_domain_needs_a_weight() -> None:
    with pytest.raises(ParamsError, match="no objective of domain values has a positive weight"):
        pairs.weighted_reward({"vivid": 1.0}, OBJECTIVES, ANCHORS, "w")(FOUR)


def test_the_order_of_samples_and_prompts_does_not_matter() -> None:
    table = pd.concat([FOUR, FOUR.assign(prompt_id="q", response=list("EFGH"))])
    assert of("helpful", table.sample(frac=1.0, random_state=3)) == of("helpful", table)


def test_annotated_pairs_are_added_to_rollout_pairs() -> None:
    table = pd.DataFrame(
        {
            "messages": [ASK, ASK],
            "chosen": ["x", "z"],
            "rejected": ["y", "x"],
            "objective": ["helpful", "vivid"],
        }
    )
    annotated = pairs.from_annotations(table, ["helpful"])
    assert annotated == {"helpful": [Pair(ASK, "x", "y")]}
    assert pairs.merge_groups({"helpful": of("helpful")}, annotated)["helpful"] == [
        Pair(ASK, "B", "C"),
        Pair(ASK, "x", "y"),
    ]


def test_an_objective_without_pairs() -> None:
    with pytest.raises(DataError, match="no training pairs for harmless; lower min_gap"):
        pairs.merge_groups({"helpful": of("helpful"), "harmless": []})
    with pytest.raises(DataError, match="no training pairs for any objective"):
        pairs.merge_groups({})


def test_rollouts_without_the_reward() -> None:
    with pytest.raises(DataError, match="no reward for helpful; rerun the stage `rollouts`"):
        of("helpful", FOUR.drop(columns="raw.helpful"))


def test_pairs_with_equal_tokens_are_dropped(
    tiny_tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two characters that the tokenizer does not know become the same token."""
    different, equal = Pair(ASK, "ab", "ac"), Pair(ASK, "aé", "aü")
    rows = encode_pairs(
        {"helpful": [different, equal]}, {"helpful": 2}, ["a", "b", "helpful"], tiny_tokenizer, 64
    )["helpful"]
    assert [row["mix"] for row in rows] == [[0.0, 0.0, 1.0]]
    assert "helpful: dropped 1 of 2 pairs" in capsys.readouterr().out
    with pytest.raises(DataError, match="helpful: the two sides of every pair"):
        encode_pairs({"helpful": [equal]}, {"helpful": 0}, ["helpful"], tiny_tokenizer, 64)
