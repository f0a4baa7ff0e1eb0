"""Padding on either side; ids and masks have the same shape."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.lm.batches import pad_sequences


def test_pads_on_either_side() -> None:
    right, left = (
        pad_sequences([[5, 6, 7], [8]], 0),
        pad_sequences([[5, 6, 7], [8]], 0, side="left"),
    )
    assert right["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert right["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert left["input_ids"].tolist() == [[5, 6, 7], [0, 0, 8]]
    assert left["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6), min_size=1, max_size=5),
    st.sampled_from(["left", "right"]),
)
def test_the_mask_recovers_the_sequences(sequences: list[list[int]], side: str) -> None:
    batch = pad_sequences(sequences, 99, side=side)  # type: ignore[arg-type]
    rows = zip(batch["input_ids"], batch["attention_mask"].bool(), strict=True)
    assert [ids[mask].tolist() for ids, mask in rows] == sequences


def test_an_empty_batch_is_an_error() -> None:
    with pytest.raises(ValueError, match="empty"):
        pad_sequences([], 0)
