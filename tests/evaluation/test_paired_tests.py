"""One-sided paired tests with clusters, and Holm's correction."""

import numpy as np
import pytest
from scipy import stats

from concord.evaluation.paired_tests import holm, p_above_zero

VALUES = np.random.default_rng(0).normal(0.1, 1.0, (60, 3))


def test_without_clusters_it_is_the_t_test() -> None:
    expected = stats.ttest_1samp(VALUES, 0, alternative="greater").pvalue
    assert p_above_zero(VALUES, np.arange(60)) == pytest.approx(expected)


def test_repeating_the_answers_of_a_group_adds_no_evidence() -> None:
    once = p_above_zero(VALUES, np.arange(60))
    assert p_above_zero(np.repeat(VALUES, 3, axis=0), np.repeat(np.arange(60), 3)) == pytest.approx(
        once
    )


def test_missing_values_are_left_out() -> None:
    with_missing = np.vstack([VALUES, np.full((5, 3), np.nan)])
    assert p_above_zero(with_missing, np.arange(65)) == pytest.approx(
        p_above_zero(VALUES, np.arange(60))
    )
    assert p_above_zero(np.full((4, 1), np.nan), np.arange(4)).tolist() == [1.0]


def test_few_groups_that_agree_are_weak_evidence() -> None:
    """Four equal gains: 1/2^4, as in a sign test; equal losses or no change: 1."""
    values = np.array([[0.5, -0.5, 0.0]] * 4)
    assert p_above_zero(values, np.arange(4)).tolist() == [1 / 16, 1.0, 1.0]


def test_holm_keeps_the_order_and_never_exceeds_one() -> None:
    assert holm([0.5, 0.01, 0.6, 0.02]) == pytest.approx([1.0, 0.04, 1.0, 0.06])
