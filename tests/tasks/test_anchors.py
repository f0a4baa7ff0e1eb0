"""The stage `anchors`: anchors for every objective, from answers of the SFT model, reproducibly."""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from concord.rewards.outcome.reward_model import new_model
from concord.rewards.vector.anchors import Anchors
from concord.stage import outputs
from concord.stage.errors import ParamsError
from concord.stage.params import Runtime, section
from tasks import anchors
from tests.tasks.resuming import check_resume

OBJECTIVES = {
    "accuracy": {"domain": "math", "description": "", "verifier": "math_answer"},
    "helpful": {"domain": "values", "description": "", "reward": "values"},
    "overall": {"domain": "all", "description": "", "reward": "overall", "in_vector": False},
}
SETTINGS = Runtime(threads=1, device="cpu")


def _params(**changes: Any) -> anchors.AnchorsParams:
    return section(
        anchors.AnchorsParams,
        {"prompts": 3, "samples": 2, "max_new_tokens": 8, **changes},
        "anchors",
    )


@pytest.fixture
def project(
    tmp_path: Path, tiny_model: Path, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("models/rewards").mkdir(parents=True)
    Path("models/sft").symlink_to(tiny_model)
    tiny_tokenizer.model_max_length = 128
    for group, name in {"values": "helpful", "overall": "overall"}.items():
        new_model(tiny_model, [name], tiny_tokenizer, "cpu", "float32", 0).save_pretrained(
            f"models/rewards/{group}"
        )
        tiny_tokenizer.save_pretrained(f"models/rewards/{group}")
    rows = [
        {
            "messages": [{"role": "user", "content": f"{domain}{n}"}],
            "domain": domain,
            "reference": reference,
        }
        for domain, reference in {"math": "2", "values": None}.items()
        for n in range(5)
    ]
    outputs.write_table("data/prepared/prompts/validation.parquet", pd.DataFrame(rows))
    return tmp_path


def test_every_objective_is_anchored(project: Path) -> None:
    """3 prompts per domain with 2 answers each: 6 samples per objective, 12 for all domains."""
    anchors.run(_params(directions={"helpful": -1}), {"objectives": OBJECTIVES}, SETTINGS, seed=0)
    fitted = Anchors.load("models/anchors.json").anchors
    assert {name: anchor.n for name, anchor in fitted.items()} == {
        "accuracy": 6,
        "helpful": 6,
        "overall": 12,
    }
    assert {name: anchor.direction for name, anchor in fitted.items()} == {
        "accuracy": 1,
        "helpful": -1,
        "overall": 1,
    }
    assert fitted["helpful"].std > 0
    first = Path("models/anchors.json").read_bytes()
    anchors.run(_params(directions={"helpful": -1}), {"objectives": OBJECTIVES}, SETTINGS, seed=0)
    assert Path("models/anchors.json").read_bytes() == first


def test_a_direction_for_an_unknown_objective(project: Path) -> None:
    with pytest.raises(
        ParamsError,
        match=r"anchors\.directions\.helpfull: unknown objective; allowed: accuracy, helpful",
    ):
        anchors.run(
            _params(directions={"helpfull": -1}), {"objectives": OBJECTIVES}, SETTINGS, seed=0
        )


def test_a_stopped_run_resumes(project: Path) -> None:
    run = partial(anchors.run, _params(), {"objectives": OBJECTIVES}, SETTINGS, seed=0)
    check_resume(run, ["models/anchors.json"])
