"""Temperatures and reliability, on margins with a known scale."""

import numpy as np
import pytest

from concord.rewards.outcome.calibration import (
    calibrate,
    expected_calibration_error,
    nll,
    reliability,
    temperature,
)


def _margins(scale: float, count: int = 20_000) -> np.ndarray:
    """Margins of a head whose scores are too large by the factor `scale`."""
    generator = np.random.default_rng(0)
    true = generator.normal(scale=2, size=count)
    won = generator.random(count) < 1 / (1 + np.exp(-true))
    return np.asarray(scale * np.where(won, true, -true))


@pytest.mark.parametrize("scale", [0.25, 1.0, 4.0])
def test_the_temperature_recovers_the_scale_of_the_scores(scale: float) -> None:
    margins = _margins(scale)
    assert temperature(margins) == pytest.approx(scale, rel=0.05)
    assert nll(margins, temperature(margins)) <= nll(margins)


def test_temperatures_of_uninformative_and_perfect_heads_are_finite() -> None:
    assert temperature(np.array([1.0, -1.0])) > 50
    assert temperature(np.array([1.0, 2.0])) == pytest.approx(np.exp(-4), rel=0.01)


def test_an_objective_without_pairs_has_temperature_1() -> None:
    result = calibrate({"helpful": _margins(4.0), "honest": np.zeros(0)})
    assert result["helpful"]["nll_after"] < result["helpful"]["nll_before"]
    assert (result["honest"]["temperature"], result["honest"]["pairs"]) == (1.0, 0)


def test_reliability_equals_hand_computed_values() -> None:
    """sigmoid(0.2) = .55: two of three correct, one tie counts half; sigmoid(3) = .95: correct."""
    bins = reliability([0.2, 0.2, -0.2, 0.0, 3.0], 1.0, bins=5)
    assert [each["pairs"] for each in bins] == [4, 1]
    assert bins[0]["observed"] == pytest.approx(2.5 / 4)
    assert bins[1]["predicted"] == pytest.approx(1 / (1 + np.exp(-3)))


def test_the_calibration_error_of_an_overconfident_head_is_large() -> None:
    margins = _margins(4.0)
    assert expected_calibration_error(reliability(margins, 4.0)) < 0.02
    assert expected_calibration_error(reliability(margins, 1.0)) > 0.08
