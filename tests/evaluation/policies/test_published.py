"""The candidate against the SFT model and the best rival, on the same prompts."""

from pathlib import Path

import pytest

from concord.evaluation.policies.published import Published
from concord.stage import outputs
from concord.stage.params import read
from tests.reports_fixture import GAIN, OBJECTIVES


@pytest.fixture
def published(reported: Path) -> Published:
    """Of three policies trained at the owner's weights, `grpo` is the best."""
    params = read("params.yaml")
    result = Published(params)
    for name in ("dpo_scalar", "grpo"):
        params["policies"][name] = {"method": "dpo", "weights": result.weights}
    params["policies"]["dpo_pooled"] = {"method": "dpo", "weights": {"helpful": 1.0}}
    return result


def test_means_and_paired_differences(published: Published) -> None:
    assert {row.objective for row in published.rows} == set(OBJECTIVES)
    for row in published.rows:
        assert row.candidate.low <= row.candidate.value <= row.candidate.high
        assert row.change.value == pytest.approx(row.candidate.value - row.sft.value)
        assert row.change.high - row.change.low < row.candidate.high - row.candidate.low
        assert row.rival is not None
        assert row.lead is not None
        assert row.lead.value == pytest.approx(row.candidate.value - row.rival.value)


def test_the_rival_is_the_best_policy_that_was_trained_at_the_owners_weights(
    published: Published,
) -> None:
    assert published.rivals() == ["dpo_scalar", "grpo"]
    assert GAIN["grpo"] > GAIN["dpo_scalar"]
    assert published.rival == "grpo"
    assert "; grpo, trained at the same weights and not steerable, is above it in" in (
        published.sentence()
    )


def test_lowered_objectives_are_named(published: Published) -> None:
    path = "reports/candidate/samples.parquet"
    samples = outputs.read_table(path)
    outputs.write_table(path, samples.assign(**{"gold.honest": samples["gold.honest"] - 0.3}))
    text = Published(read("params.yaml")).sentence()
    assert text == (
        "On the locked world, the published model raises 6 of 7 objectives over sft "
        "(95 % intervals) and lowers honest."
    )


def test_metrics_are_a_handful(published: Published) -> None:
    """One mean per objective; the regret is what the best rival has more at the owner's weights."""
    metrics = published.metrics()
    assert set(metrics["mean"]) == set(OBJECTIVES)
    assert metrics["utility"] == pytest.approx(published.utility(published.candidate()))
    rival = published.utility(published.samples("grpo"))
    assert metrics["regret"] == pytest.approx(rival - metrics["utility"])
    assert metrics["verdict"] == ("accepted" if published.gate["accepted"] else "refused")
    alone = Published({**published.params, "policies": {}})
    assert alone.metrics()["regret"] is None
