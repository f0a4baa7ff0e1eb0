"""Bootstrap intervals and rank statistics, compared with values computed by hand."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.evaluation.metrics import (
    Clusters,
    Interval,
    area_under_curve,
    interval,
    mean_interval,
    rank_correlation,
    resamples,
)
from concord.stage.errors import DataError


def test_each_resample_has_as_many_clusters_as_the_data() -> None:
    drawn = resamples(7, 50, seed=3)
    assert drawn.shape == (50, 7)
    assert (drawn.sum(axis=1) == 7).all()
    assert (drawn == resamples(7, 50, seed=3)).all()
    assert (drawn != resamples(7, 50, seed=4)).any()


def test_the_error_for_no_rows_names_the_parameter() -> None:
    with pytest.raises(DataError, match=r"params\.evaluate"):
        resamples(0, 10, 0)


def test_the_interval_has_about_its_nominal_coverage() -> None:
    """200 samples of 40 draws of mean 0: about 95 % of the intervals contain 0."""
    noise = np.random.default_rng(0)
    groups = [str(index) for index in range(40)]
    result = [mean_interval(noise.normal(0, 1, 40), groups, 300, seed) for seed in range(200)]
    assert 0.89 <= np.mean([not one.excludes(0.0) for one in result]) <= 0.99


def test_rows_of_one_cluster_count_once() -> None:
    """Ten copies of each of eight rows give the clustered interval of the eight rows."""
    values = np.arange(8.0)
    once = mean_interval(values, list("abcdefgh"), 500, 0)
    copied = mean_interval(
        np.repeat(values, 10), [name for name in "abcdefgh" for _ in range(10)], 500, 0
    )
    assert copied == once
    split = mean_interval(np.repeat(values, 10), [str(index) for index in range(80)], 500, 0)
    assert split.high - split.low < 0.6 * (once.high - once.low)


def test_missing_values_are_ignored() -> None:
    """The mean of 1, missing, 3, and the mean of a column without values."""
    frame = pd.DataFrame(
        {"group_id": list("abc"), "point": "p", "x": [1.0, np.nan, 3.0], "y": [np.nan] * 3}
    )
    clusters = Clusters.of(frame, ["x", "y"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mean, draws = clusters.mean(), clusters.bootstrap(50, 0)
    assert mean[0, 0] == 2.0
    assert np.isnan(mean[0, 1])
    assert np.isnan(draws[:, 0, 1]).all()
    assert np.isnan(interval(mean[0, 1], draws[:, 0, 1]).low)


def test_shared_resamples_pair_two_policies() -> None:
    """Two policies differ by 0.1 on every prompt: the means vary, their difference does not."""
    noise = np.random.default_rng(1).normal(0, 1, 30)
    rows = [
        {"group_id": str(index), "point": policy, "x": value + gain}
        for policy, gain in (("a", 0.0), ("b", 0.1))
        for index, value in enumerate(noise)
    ]
    draws = Clusters.of(pd.DataFrame(rows), ["x"]).bootstrap(200, 0)[:, :, 0]
    assert np.ptp(draws[:, 0]) > 0.3
    assert np.allclose(draws[:, 1] - draws[:, 0], 0.1)


def test_clusters_are_weighted_by_their_number_of_rows() -> None:
    """Cluster a has one row of 0, cluster b three rows of 1: the mean over rows is 3/4."""
    result = mean_interval(np.array([0.0, 1.0, 1.0, 1.0]), ["a", "b", "b", "b"], 200, 0)
    assert result.value == 0.75
    assert (result.low, result.high) == (0.0, 1.0)


def test_rank_correlation_by_hand() -> None:
    """Ranks 1 2 3 4 against 1 2 4 3: 1 - 6 * 2 / (4 * 15) = 0.8; ties share their mean rank."""
    assert rank_correlation([1, 2, 3, 4], [10, 20, 40, 30]) == pytest.approx(0.8)
    assert rank_correlation([1, 2, 3], [5, 5, 9]) == pytest.approx(np.sqrt(3) / 2)
    assert rank_correlation([1, 2, 3], [7, 7, 7]) == 0.0


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=12, unique=True))
def test_rank_correlation_depends_only_on_order(values: list[int]) -> None:
    cubes = [value**3 for value in values]
    assert rank_correlation(values, cubes) == pytest.approx(1.0)
    assert rank_correlation(values, [-cube for cube in cubes]) == pytest.approx(-1.0)


def test_area_under_curve_by_hand() -> None:
    """Positives .9 .4, negatives .5 .4: two pairs right, one tied, one wrong: 2.5 / 4."""
    assert area_under_curve(np.array([0.9, 0.4, 0.5, 0.4]), np.array([1, 1, 0, 0])) == 0.625
    assert np.isnan(area_under_curve(np.array([0.1, 0.2]), np.array([1, 1])))


def test_keys_of_an_interval_and_excluded_values() -> None:
    result = Interval(0.2, 0.1, 0.3)
    assert result.named("gold_mean") == {"gold_mean": 0.2, "ci_low": 0.1, "ci_high": 0.3}
    assert result.excludes(0.0)
    assert not result.excludes(0.15)
