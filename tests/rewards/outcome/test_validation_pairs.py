"""Validation pairs: encoded once, scored by the head of their objective."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from concord.rewards.outcome.validation_pairs import (
    Pair,
    encode_pairs,
    pair_accuracy,
    pair_margins,
)

NAMES = ["helpful", "honest"]
PAIRS = [Pair([1, 1], [1], head=0), Pair([1], [1, 1, 1], head=0)]


def _lengths(sequences: list[list[int]]) -> np.ndarray:
    """Scores two heads: the length, and minus the length."""
    lengths = np.array([len(sequence) for sequence in sequences], dtype=float)
    return np.stack([lengths, -lengths], axis=1)


def test_margins_and_accuracy_of_each_head() -> None:
    margins = pair_margins(_lengths, PAIRS, NAMES)
    assert {name: values.tolist() for name, values in margins.items()} == {
        "helpful": [1.0, -2.0],
        "honest": [],
    }
    assert pair_accuracy(_lengths, PAIRS, NAMES) == {"validation_helpful": 0.5}
    reverse = [pair._replace(head=1) for pair in PAIRS[:1]]
    assert pair_accuracy(_lengths, reverse, NAMES) == {"validation_honest": 0.0}


def test_pairs_with_equal_tokens_and_other_objectives_are_dropped(tiny_tokenizer: Any) -> None:
    tiny_tokenizer.model_max_length = 64
    row = {"messages": [{"role": "user", "content": "q"}], "objective": "honest"}
    frame = pd.DataFrame(
        [
            {**row, "chosen": "a", "rejected": "b"},
            {**row, "chosen": "a", "rejected": "a"},
            {**row, "chosen": "a", "rejected": "b", "objective": "other"},
        ]
    )
    (pair,) = encode_pairs(frame, NAMES, tiny_tokenizer)
    assert pair.head == 1
    assert pair.chosen != pair.rejected


@pytest.mark.parametrize("names", [NAMES, []])
def test_no_pairs(names: list[str]) -> None:
    assert pair_accuracy(_lengths, [], names) == {}
