"""The committed results of the default recipe can be recomputed from the saved answers."""

import json
from pathlib import Path

import pytest

from concord.evaluation.policies.regrade import differences, regraded
from concord.stage import outputs
from concord.stage.params import read

ROOT = Path(__file__).parents[1]
PARAMS = read(ROOT / "params.yaml")


@pytest.mark.parametrize("policy", PARAMS["policies"])
def test_the_reported_means_match_the_saved_answers(policy: str) -> None:
    samples = outputs.read_table(ROOT / f"reports/samples/{policy}.parquet")
    report = json.loads((ROOT / f"reports/policies/{policy}.json").read_text(encoding="utf-8"))
    equal = samples[(samples["point"] == "equal")]
    assert differences(equal) == 0
    means = regraded(equal).filter(like="gold.").mean()
    for name, figures in report["objectives"].items():
        assert figures["gold_mean"] == pytest.approx(means[f"gold.{name}"], abs=1e-6)


def test_the_sft_model_is_neither_perfect_nor_useless() -> None:
    report = json.loads((ROOT / "reports/policies/sft.json").read_text(encoding="utf-8"))
    vector = {
        name for name, objective in PARAMS["objectives"].items() if objective.get("in_vector", True)
    }
    assert report["objectives"].keys() == vector
    assert all(0.2 <= figures["gold_mean"] <= 0.85 for figures in report["objectives"].values())


def test_a_changed_answer_is_detected() -> None:
    samples = outputs.read_table(ROOT / "reports/samples/sft.parquet")
    math = samples.index[samples["domain"].eq("math") & samples["gold.math_accuracy"].eq(1.0)]
    samples.loc[math[0], "response"] = "\\boxed{0}"
    assert differences(samples) == 1
