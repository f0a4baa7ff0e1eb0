"""The stage `process_labels`, and the stage `process_reward` on its output."""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from concord.objectives import Objective
from concord.rewards.outcome.reward_model import new_model
from concord.rewards.process import process_model as process
from concord.stage import outputs
from concord.stage.errors import DataError, ParamsError
from concord.stage.params import Runtime, section
from tasks import process_labels, process_reward
from tasks.process_labels import ProcessLabelsJob, ProcessLabelsParams
from tests.tasks.resuming import check_resume

KNOWN = {
    "accuracy": Objective(domain="math", description="", verifier="math_answer"),
    "fun": Objective(domain="math", description="", reward="values"),
    "helpful": Objective(domain="values", description="", reward="values"),
    "tutor": Objective(domain="tutoring", description="", reward="values"),
}
SETTINGS = Runtime(threads=1, device="cpu")
ENTRY = {
    "objectives": {
        "accuracy": {},
        "fun": {},
        "helpful": {"steps": "none"},
        "tutor": {"labels": "human"},
    },
    "prompts": 4,
    "completions": 2,
    "max_new_tokens": 12,
}


def _params(**changes: Any) -> ProcessLabelsParams:
    return section(ProcessLabelsParams, {**ENTRY, **changes}, "process_labels")


def _job(**changes: Any) -> ProcessLabelsJob:
    return ProcessLabelsJob(_params(**changes), KNOWN, SETTINGS, 0)


def _prompts() -> pd.DataFrame:
    rows = [
        {
            "messages": [{"role": "user", "content": f"{domain}{n}"}],
            "domain": domain,
            "reference": reference,
            "group_id": f"{domain}{n}",
        }
        for domain, reference in {"math": "2", "values": None}.items()
        for n in range(6)
    ]
    return pd.DataFrame(rows)


def _steps() -> pd.DataFrame:
    row = {
        "messages": [{"role": "user", "content": "?"}],
        "label_kind": "binary",
        "group_id": "g",
        "source": "people",
    }
    tutor = {**row, "steps": ["Good. "], "labels": [1.0], "objective": "tutor"}
    maths = {**row, "steps": ["1 ", "2"], "labels": [1.0, None], "objective": "accuracy"}
    return pd.DataFrame([tutor, maths, {**tutor, "objective": "unasked"}])


@pytest.fixture
def project(
    tmp_path: Path, tiny_model: Path, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("models/rewards").mkdir(parents=True)
    Path("models/sft").symlink_to(tiny_model)
    tiny_tokenizer.model_max_length = 128
    new_model(tiny_model, ["helpful", "fun"], tiny_tokenizer, "cpu", "float32", 0).save_pretrained(
        "models/rewards/values"
    )
    tiny_tokenizer.save_pretrained("models/rewards/values")
    for split in ("train", "validation"):
        outputs.write_table(f"data/prepared/prompts/{split}.parquet", _prompts())
        outputs.write_table(f"data/prepared/steps/{split}.parquet", _steps())
    return tmp_path


def test_numbers_by_domain(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The domain `tutoring` needs no number, because it has human labels only."""
    process_labels.run(_job(prompts={"math": 2, "values": 5}, samples={"math": 2, "values": 1}))
    printed = capsys.readouterr().out
    assert "train, math: 4 answers of up to 12 tokens" in printed
    assert "validation, values: 1 answers of up to 12 tokens" in printed
    table = outputs.read_table("data/process_labels/train.parquet")
    assert table["label_kind"].value_counts().to_dict() == {
        "reward": 5,
        "hindsight": 4,
        "majority": 4,
        "binary": 2,
    }


def test_a_domain_without_a_number_is_an_error(project: Path) -> None:
    with pytest.raises(
        ParamsError,
        match=r"process_labels\.prompts: no value for values; give a number for each of math, ",
    ):
        process_labels.run(_job(prompts={"math": 2}))


def test_all_kinds_of_labels_and_the_fitted_model(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process_labels.run(_job())
    printed = capsys.readouterr().out
    assert "train, math: 4 answers of up to 12 tokens" in printed
    assert "x 2 completions = " in printed
    table = outputs.read_table("data/process_labels/train.parquet")
    assert table.groupby("label_kind")["objective"].unique().map(list).to_dict() == {
        "hindsight": ["accuracy"],
        "majority": ["fun"],
        "reward": ["helpful"],
        "binary": ["tutor", "accuracy"],
    }
    assert all(len(row.steps) == len(row.labels) for row in table.itertuples())
    given = {
        kind: [label for labels in rows for label in labels]
        for kind, rows in table.groupby("label_kind")["labels"]
    }
    assert all(0 < label < 1 for label in given["reward"])
    assert set(given["majority"]) <= {0.0, 1.0}
    assert set(outputs.read_json("data/process_labels/standards.json")) == {"helpful", "fun"}
    report = outputs.read_json("reports/process_labels.json")
    assert {name: entry["maker"] for name, entry in report.items()} == {
        "accuracy": "hindsight",
        "fun": "majority",
        "helpful": "reward",
        "tutor": "human",
    }
    assert report["accuracy"]["answers"]["train"] == {"hindsight": 4, "binary": 1}
    assert not any(Path("work/process_labels").iterdir())

    training = {"learning_rate": 0.01, "steps": 3, "batch_size": 4, "micro_batch": 2}
    entry = {"training": training, "l2": 1.0, "verdicts": {"accuracy": {"good": "x", "bad": "y"}}}
    params = section(process_reward.ProcessRewardParams, entry, "process_reward")
    process_reward.run(params, SETTINGS, seed=0, max_length=64)
    model = process.load("models/process_reward")
    assert model.objectives == ["accuracy", "fun", "helpful", "tutor"]
    assert model.score([{"role": "user", "content": "?"}], ["one. ", "two."]).shape == (2, 4)
    assert Path("reports/curves/process_reward.csv").read_text().count("\n") == 4
    fitted = outputs.read_json("reports/timing/process_reward.json")
    assert set(fitted) == {"seconds", "resumed", "peak_mb", "parameters", "validation"}
    assert set(fitted["validation"]) == {"accuracy", "fun", "helpful", "tutor"}


@pytest.mark.parametrize(
    ("objective", "labels", "message"),
    [
        ("helpful", "hindsight", "helpful: hindsight labels need a verifier"),
        ("accuracy", "prefix", "accuracy: prefix labels need a judge"),
        ("other", "human", "other: unknown objective; allowed: accuracy, fun, helpful, tutor"),
    ],
)
def test_labelling_methods_that_cannot_work(objective: str, labels: str, message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        process_labels.run(_job(objectives={objective: {"labels": labels}}))


def test_discounted_values_and_human_labels_do_not_share_a_head(project: Path) -> None:
    """People labelled `accuracy`. Each kind of label alone is fine, whatever the discount."""
    with pytest.raises(DataError, match=r"gamma is 0\.9, but people also labelled .* accuracy"):
        process_labels.run(_job(gamma=0.9))
    human = {**ENTRY["objectives"], "accuracy": {"labels": "human"}}
    process_labels.run(_job(gamma=0.9, objectives=human))
    for split in ("train", "validation"):
        rows = _steps()
        outputs.write_table(
            f"data/prepared/steps/{split}.parquet", rows[rows["objective"] != "accuracy"]
        )
    process_labels.run(_job(gamma=0.9))


@pytest.mark.parametrize(
    "unlabelled", [_steps().tail(1), _steps().assign(labels=[[None], [1.0, None], [1.0]])]
)
def test_an_objective_without_labels(project: Path, unlabelled: pd.DataFrame) -> None:
    for split in ("train", "validation"):
        outputs.write_table(f"data/prepared/steps/{split}.parquet", unlabelled)
    with pytest.raises(DataError, match="no steps are labelled for tutor"):
        process_labels.run(_job(objectives={"tutor": {"labels": "human"}}))


def test_a_stopped_run_resumes(project: Path) -> None:
    """In the sampling of the second split, and while labels are made."""
    written = [f"data/process_labels/{name}" for name in ("train.parquet", "validation.parquet")]
    for share in (0.3, 0.9):
        check_resume(partial(process_labels.run, _job()), written, share)
