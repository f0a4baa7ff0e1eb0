"""The report of one policy: the keys that tools rely on, and the means."""

import numpy as np
import pandas as pd
import pytest

from concord.evaluation.policies.protocol import by_domain
from concord.evaluation.policies.summary import policy_report
from tests.reports_fixture import OBJECTIVES, samples

NAMES = by_domain(OBJECTIVES)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return samples("mah_dpo", 40)


def report_of(frame: pd.DataFrame, sweep: int) -> dict:
    held_out, validation = (frame[frame["split"] == split] for split in ("locked", "validation"))
    return policy_report(held_out, validation, NAMES, sweep, 50, 0)


def test_keys_and_means(frame: pd.DataFrame) -> None:
    report = report_of(frame, 9)
    assert {"objectives", "kl", "length", "default", "points", "sweep", "validation"} <= set(report)
    assert list(report["objectives"]) == list(OBJECTIVES)
    equal = frame[(frame["split"] == "locked") & (frame["point"] == "equal")]
    for name, figures in report["objectives"].items():
        assert {"gold_mean", "ci_low", "ci_high", "proxy_mean"} <= set(figures)
        assert figures["gold_mean"] == pytest.approx(equal[f"gold.{name}"].mean())
        assert figures["ci_low"] < figures["gold_mean"] < figures["ci_high"]
        assert figures["n"] == 40
    assert report["kl"] == pytest.approx(equal.groupby("domain")["kl"].mean().mean())
    assert report["length"] == pytest.approx(22.0)


def test_each_objective_is_swept_over_nine_weights(frame: pd.DataFrame) -> None:
    sweep = report_of(frame, 9)["sweep"]
    assert set(sweep) == set(OBJECTIVES)
    for objective, curve in sweep.items():
        assert [entry["weight"] for entry in curve] == np.linspace(0, 1, 9).tolist()
        means = [entry["objectives"][objective]["gold_mean"] for entry in curve]
        assert means == sorted(means)


def test_default_differs_from_equal_only_where_its_weights_do(frame: pd.DataFrame) -> None:
    report = report_of(frame, 9)
    assert report["default"]["weights"]["harmless"] == 0.45
    assert report["default"]["objectives"]["math_accuracy"] == report["objectives"]["math_accuracy"]
    assert report["default"]["objectives"]["harmless"] != report["objectives"]["harmless"]


def test_validation_has_proxies_but_no_gold(frame: pd.DataFrame) -> None:
    for point in report_of(frame, 9)["validation"]["points"]:
        assert set(point) == {"point", "domain", "weights", "kl", "length", "proxies"}


def test_a_policy_with_one_head_has_no_sweep() -> None:
    report = report_of(samples("sft", 10), 0)
    assert report["sweep"] == {}
    assert report["default"]["objectives"] == report["objectives"]
