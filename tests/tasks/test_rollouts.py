"""The stage `rollouts`: K responses per prompt, scored on every objective."""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from concord.objectives import Objective
from concord.rewards.outcome.reward_model import new_model
from concord.stage import outputs
from concord.stage.errors import DataError
from concord.stage.params import Runtime, section
from tasks import rollouts
from tests.tasks.resuming import check_resume

OBJECTIVES = {
    "right": Objective(domain="math", description="", verifier="math_answer"),
    "helpful": Objective(domain="values", description="", reward="values"),
    "overall": Objective(domain="all", description="", reward="overall", in_vector=False),
}
SETTINGS = Runtime(threads=1, device="cpu")


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
            "prompt_id": f"{domain}{n}",
            "group_id": f"g{domain}{n}",
            "domain": domain,
            "messages": [{"role": "user", "content": f"{domain}{n}"}],
            "reference": reference,
        }
        for domain, reference in {"math": "2", "values": None, "chat": None}.items()
        for n in range(5)
    ]
    outputs.write_table(rollouts.PROMPTS, pd.DataFrame(rows).sample(frac=1.0, random_state=0))
    return tmp_path


def params(**entry: Any) -> rollouts.RolloutsParams:
    return section(
        rollouts.RolloutsParams,
        {"prompts": 3, "samples": 4, "max_new_tokens": 6, **entry},
        "rollouts",
    )


def run(**entry: Any) -> pd.DataFrame:
    rollouts.run(params(**entry), OBJECTIVES, SETTINGS, seed=0)
    return outputs.read_table(rollouts.TABLE)


def test_samples_and_their_scores(project: Path) -> None:
    """3 of 5 prompts per domain, 4 samples; NaN where an objective does not apply."""
    table = run()
    assert table["prompt_id"].unique().tolist() == [
        "math0",
        "math1",
        "math2",
        "values0",
        "values1",
        "values2",
    ]
    assert table["sample"].tolist() == [0, 1, 2, 3] * 6
    assert table.groupby("prompt_id")["response"].nunique().min() > 1
    maths = table["domain"] == "math"
    assert table.loc[maths, "raw.right"].notna().all()
    assert table.loc[~maths, "raw.right"].isna().all()
    assert table.loc[~maths, "raw.helpful"].notna().all()
    assert table["raw.overall"].notna().all()
    assert table.loc[maths, "reference"].eq("2").all()
    assert table["messages"].iloc[0] == [{"role": "user", "content": "math0"}]


def test_the_batch_size_does_not_change_the_results(project: Path) -> None:
    first = run()
    assert run()["response"].tolist() == first["response"].tolist()
    assert run(batch_size=5)["response"].tolist() == first["response"].tolist()


def test_a_truncated_response_is_not_finished(project: Path, tiny_tokenizer: Any) -> None:
    table = run(max_new_tokens=40)
    lengths = table["response"].map(lambda text: len(tiny_tokenizer(text)["input_ids"]))
    assert not table["finished"][lengths == 40].any()
    assert table["finished"].any()


def test_a_domain_without_prompts(project: Path) -> None:
    table = outputs.read_table(rollouts.PROMPTS)
    outputs.write_table(rollouts.PROMPTS, table[table["domain"] != "values"])
    with pytest.raises(DataError, match="no prompts for the domain values, which has objectives"):
        run()


def test_a_stopped_run_resumes(project: Path) -> None:
    check_resume(partial(run, batch_size=5), [str(rollouts.TABLE)], share=0.5)
