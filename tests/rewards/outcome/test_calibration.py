"""Temperatures and reliability, on margins whose truth is known."""

import numpy as np
import pytest

from concord.rewards.outcome.calibration import (
    calibrated,
    expected_error,
    nll,
    reliability,
    temperature,
)


def _margins(scale: float, count: int = 20_000) -> np.ndarray:
    """Of a head whose scores are `scale` times what they should be."""
    generator = np.random.default_rng(0)
    true = generator.normal(scale=2, size=count)
    won = generator.random(count) < 1 / (1 + np.exp(-true))
    return np.asarray(scale * np.where(won, true, -true))


@pytest.mark.parametrize("scale", [0.25, 1.0, 4.0])
def test_the_temperature_is_what_the_scores_are_too_large_by(scale: float) -> None:
    margins = _margins(scale)
    assert temperature(margins) == pytest.approx(scale, rel=0.05)
    assert nll(margins, temperature(margins)) <= nll(margins)


def test_a_head_that_knows_nothing_or_all_stays_finite() -> None:
    assert temperature(np.array([1.0, -1.0])) > 50
    assert temperature(np.array([1.0, 2.0])) == pytest.approx(np.exp(-4), rel=0.01)


def test_an_objective_without_pairs_keeps_its_scale() -> None:
    found = calibrated({"helpful": _margins(4.0), "honest": np.zeros(0)})
    assert found["helpful"]["nll_after"] < found["helpful"]["nll_before"]
    assert (found["honest"]["temperature"], found["honest"]["pairs"]) == (1.0, 0)


def test_reliability_by_hand() -> None:
    """sigmoid(0.2) = .55, right twice of three, one tie counts half; sigmoid(3) = .95, right."""
    bins = reliability([0.2, 0.2, -0.2, 0.0, 3.0], 1.0, bins=5)
    assert [each["pairs"] for each in bins] == [4, 1]
    assert bins[0]["observed"] == pytest.approx(2.5 / 4)
    assert bins[1]["predicted"] == pytest.approx(1 / (1 + np.exp(-3)))


def test_a_calibrated_head_is_reliable_and_a_bold_one_is_not() -> None:
    margins = _margins(4.0)
    assert expected_error(reliability(margins, 4.0)) < 0.02
    assert expected_error(reliability(margins, 1.0)) > 0.08
