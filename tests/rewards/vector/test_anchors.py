"""Anchors: fitting, names, saving, and the sign of costs."""

from pathlib import Path

import numpy as np
import pytest

from concord.rewards.vector.anchors import Anchors
from concord.stage.errors import DataError

RAW = {
    "helpful": np.array([1.0, 3.0, np.nan]),
    "cost": np.array([0.0, 10.0, 5.0]),
    "flat": np.array([2.0, 2.0, 2.0]),
}


def test_missing_rewards_are_ignored() -> None:
    """helpful: mean 2, std 1 over 2 samples; flat: only its mean is subtracted."""
    anchors = Anchors.fit(RAW).anchors
    assert (anchors["helpful"].mean, anchors["helpful"].std, anchors["helpful"].n) == (2.0, 1.0, 2)
    assert (anchors["flat"].mean, anchors["flat"].std) == (2.0, 1.0)


def test_the_sign_of_a_cost_is_reversed() -> None:
    """A high cost gives a low normalised reward."""
    anchors = Anchors.fit(RAW, {"cost": -1})
    normalised = anchors.normalise(RAW["cost"][:, None], ["cost"])[:, 0]
    assert normalised[0] > 0 > normalised[1]


def test_columns_are_identified_by_name_and_nan_is_kept() -> None:
    anchors = Anchors.fit(RAW)
    raw = np.array([[3.0, 4.0], [np.nan, 2.0]])
    np.testing.assert_allclose(
        anchors.normalise(raw, ["helpful", "flat"]), [[1.0, 2.0], [np.nan, 0.0]]
    )
    swapped = anchors.normalise(raw[:, ::-1], ["flat", "helpful"])
    np.testing.assert_allclose(swapped[:, ::-1], anchors.normalise(raw, ["helpful", "flat"]))


def test_saved_and_loaded(tmp_path: Path) -> None:
    Anchors.fit(RAW, {"cost": -1}).save(tmp_path / "anchors.json")
    assert Anchors.load(tmp_path / "anchors.json").anchors == Anchors.fit(RAW, {"cost": -1}).anchors


def test_objectives_without_rewards_or_anchors_are_errors() -> None:
    with pytest.raises(DataError, match="no sample has a reward for objective empty"):
        Anchors.fit({"empty": np.array([np.nan])})
    with pytest.raises(DataError, match="there is no anchor for other"):
        Anchors.fit(RAW).normalise(np.zeros((1, 1)), ["other"])
