"""Balanced batches: their rows, the weights of the rows, and padding."""

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from concord.policies.balanced_batches import balance, collate, pair_length
from concord.policies.model import IGNORED
from concord.stage.errors import DataError


def groups(sizes: dict[str, int]) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [{"mix": head, "id": f"{name}{n}"} for n in range(size)]
        for head, (name, size) in enumerate(sizes.items())
    }


def test_shares_and_weights() -> None:
    """5 rows over 3 groups: one each, and two extra rows rotate (a b, c a, b c)."""
    rows = balance(
        groups({"a": 4, "b": 4, "c": 4}),
        {"a": 0.5, "b": 0.3, "c": 0.2},
        steps=3,
        batch_size=5,
        seed=0,
    )
    batches = [rows[start : start + 5] for start in (0, 5, 10)]
    counts = [Counter(row["id"][0] for row in batch) for batch in batches]
    assert counts == [{"a": 2, "b": 2, "c": 1}, {"a": 2, "b": 1, "c": 2}, {"a": 1, "b": 2, "c": 2}]
    assert [row["weight"] for row in batches[0]] == [0.25, 0.25, 0.15, 0.15, 0.2]
    assert [row["weight"] for row in batches[2]] == [0.5, 0.15, 0.15, 0.1, 0.1]


def test_no_pair_is_repeated_before_all_pairs_are_used() -> None:
    """Batches are not filled with repeated rows while unused ones remain."""
    rows = balance(groups({"a": 6, "b": 3}), {"a": 0.5, "b": 0.5}, steps=4, batch_size=6, seed=0)
    seen = [row["id"] for row in rows if row["id"][0] == "a"]
    assert sorted(seen[:6]) == sorted(seen[6:]) == [f"a{n}" for n in range(6)]
    assert seen[:6] != seen[6:]


@settings(max_examples=30, deadline=None)
@given(st.permutations(["x", "b", "m"]), st.integers(3, 11), st.integers(0, 5))
def test_the_order_of_groups_does_not_matter(order: list[str], batch_size: int, seed: int) -> None:
    """The weights of every batch sum to the sum of alpha."""
    every, alpha = groups({"b": 5, "m": 2, "x": 7}), {"x": 0.2, "m": 0.5, "b": 0.3}
    arguments = {"steps": 4, "batch_size": batch_size, "seed": seed}
    expected = balance(every, alpha, **arguments)
    assert (
        balance(
            {name: every[name] for name in order},
            {name: alpha[name] for name in order},
            **arguments,
        )
        == expected
    )
    for start in range(0, 4 * batch_size, batch_size):
        assert sum(row["weight"] for row in expected[start : start + batch_size]) == pytest.approx(
            1.0
        )


def test_the_seed_shuffles() -> None:
    one, other = (
        balance(groups({"a": 9}), {"a": 1.0}, steps=1, batch_size=9, seed=seed) for seed in (0, 1)
    )
    assert one != other


def test_a_batch_smaller_than_the_number_of_groups() -> None:
    with pytest.raises(
        DataError, match=r"batch of 2 pairs cannot hold one pair of each of 3 groups \(a, b, c\)"
    ):
        balance(
            groups({"a": 4, "b": 4, "c": 4}),
            dict.fromkeys("abc", 1 / 3),
            steps=1,
            batch_size=2,
            seed=0,
        )


def test_collate() -> None:
    """Chosen rows come first; only responses have labels; padding is on the right."""
    rows = [
        {
            "chosen": ([5, 6, 7], 2),
            "rejected": ([5, 6, 8, 9], 2),
            "mix": [0.0, 1.0],
            "margin": 0.0,
            "sharpness": 1.0,
            "reference": (-1.0, -2.0),
            "weight": 0.5,
        },
        {
            "chosen": ([4, 3], 1),
            "rejected": ([4, 2], 1),
            "mix": [0.25, 0.75],
            "margin": 1.5,
            "sharpness": 4.0,
            "reference": (-3.0, -4.0),
            "weight": 0.25,
        },
    ]
    batch = collate(0)(rows)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 0], [4, 3, 0, 0], [5, 6, 8, 9], [4, 2, 0, 0]]
    assert batch["attention_mask"].tolist() == [
        [1, 1, 1, 0],
        [1, 1, 0, 0],
        [1, 1, 1, 1],
        [1, 1, 0, 0],
    ]
    no = IGNORED
    assert batch["labels"].tolist() == [
        [no, no, 7, no],
        [no, 3, no, no],
        [no, no, 8, 9],
        [no, 2, no, no],
    ]
    assert batch["head_weights"].tolist() == 2 * [[0.0, 1.0], [0.25, 0.75]]
    assert torch.equal(batch["reference"], torch.tensor([[-1.0, -3.0], [-2.0, -4.0]]))
    assert batch["weights"].tolist() == [0.5, 0.25]
    assert batch["margin"].tolist() == [0.0, 1.5]
    assert batch["sharpness"].tolist() == [1.0, 4.0]
    assert [pair_length(row) for row in rows] == [4, 2]


def test_custom_shares_hold_over_all_batches() -> None:
    groups = {name: [{"mix": name, "id": f"{name}{n}"} for n in range(9)] for name in "abc"}
    shares = {"a": 0.5, "b": 0.3, "c": 0.2}
    rows = balance(
        groups, dict.fromkeys("abc", 1 / 3), steps=8, batch_size=6, seed=0, shares=shares
    )
    counts = {name: sum(row["mix"] == name for row in rows) for name in "abc"}
    assert all(abs(counts[name] - 48 * shares[name]) < 1 for name in "abc")
    for start in range(0, 48, 6):
        assert {row["mix"] for row in rows[start : start + 6]} == set("abc")
    with pytest.raises(DataError, match=r"raise training\.batch_size to 5 or more"):
        balance(groups, dict.fromkeys("abc", 1 / 3), steps=1, batch_size=4, seed=0, shares=shares)
