"""The likelihood of labelled answers as the measure of a study."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from concord.evaluation.study.curves import curve_of
from concord.evaluation.study.measure import labelled_pairs, measured
from concord.evaluation.study.recipe import Cell, StudyParams
from concord.lm.load import load_causal
from concord.policies.model import MultiHeadCausalLM
from concord.stage import outputs
from concord.steering.steered import Sampling, Steered

CELL = Cell("chat", 0, {"kind": 0.25, "brief": 0.75})
STUDY = StudyParams(
    prompts=9, seeds=[0], scales=[0.5, 1.0], steered="heads", rivals=["alone"],
    weights=[{"kind": 1, "brief": 3}], policies={"heads": {}, "alone": {}}, protocol="likelihood",
)  # fmt: skip


@pytest.fixture
def policy(tmp_path: Path, tiny_model: Path, tiny_tokenizer: Any, monkeypatch: Any) -> Steered:
    """A policy with two heads that differ from the reference, and two rated answers per prompt."""
    monkeypatch.chdir(tmp_path)
    rows = [
        (f"g{number}", [{"role": "user", "content": f"Question {number}?"}], answer, name, grade)
        for number in range(4)
        for answer, grades in {"Yes.": (1.0, 0.0), "It may be so.": (0.0, 1.0)}.items()
        for name, grade in zip(("kind", "brief"), grades, strict=True)
    ]
    columns = ["group_id", "messages", "response", "objective", "rating"]
    ratings = pd.DataFrame(rows, columns=columns).assign(kind="rating")
    outputs.write_table("data/prepared/ratings/test.parquet", ratings)
    pairs = pd.DataFrame(
        columns=["group_id", "messages", "chosen", "rejected", "objective", "origin"]
    )
    outputs.write_table("data/prepared/pairs/test.parquet", pairs)
    model = MultiHeadCausalLM.from_sft(tiny_model, ["brief", "kind"])
    noise = torch.randn(model.heads.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.heads += 0.5 * noise
    sampling = Sampling(5, 1.0, batch_size=2, max_length=128, seed=1)
    return Steered(model, load_causal(tiny_model), tiny_tokenizer, sampling)


def test_pairs_are_judged_at_every_scale(policy: Steered) -> None:
    """The two objectives rank the answers in opposite ways, so one is right where one is wrong."""
    tables = {scale: labelled_pairs(policy, CELL, scale, STUDY) for scale in (0.0, 0.5, 1.0)}
    for table in tables.values():
        kind, brief = (table[f"gold.{name}"].dropna().to_numpy() for name in ("kind", "brief"))
        np.testing.assert_array_equal(kind + brief, np.ones(4))
        assert table["kl"].notna().sum() == 8
    means = [table["kl"].mean() for table in tables.values()]
    assert means[0] == pytest.approx(0.0, abs=1e-5)
    assert means[0] < means[1] < means[2]


def test_the_full_scale_is_the_policy_as_trained(policy: Steered) -> None:
    messages = [[{"role": "user", "content": f"Question {number}?"}] for number in range(4)]
    _, kl, _ = policy.likelihood(messages, ["Yes."] * 4, [CELL.weights])
    table = labelled_pairs(policy, CELL, 1.0, STUDY)
    of_yes = table[table["length"] == len("Yes.") + 1].dropna(subset="kl")["kl"]
    np.testing.assert_allclose(np.sort(of_yes), np.sort(kl[0]), rtol=1e-4)


def test_an_objective_with_more_pairs_has_no_more_weight() -> None:
    """kind is right in 1 of 1 pair and brief in 1 of 3: .25 + .75 / 3."""
    table = pd.DataFrame({"gold.kind": [1.0] + 3 * [np.nan], "gold.brief": [np.nan, 1.0, 0.0, 0.0]})
    table = table.assign(group_id=list("aabb"), scale=1.0, kl=2.0, line=0)
    curve = curve_of([table], table.drop(columns="scale"), CELL, count=10, seed=0)
    np.testing.assert_allclose(curve.utility, [[0.5, 0.5]])
    np.testing.assert_allclose(curve.kl, [[0.0, 2.0]])


def test_each_protocol_has_its_own_measurements() -> None:
    other = StudyParams(**{**STUDY.__dict__, "protocol": "sandbox", "world": "dev"})
    assert measured(STUDY, "heads") != measured(other, "heads")
