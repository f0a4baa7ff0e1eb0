"""The trained candidates on flipped labels: what each is trained on, and the whole of it on a tiny
model, whose figures mean nothing.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks import flipped_labels
from benchmarks.flipped_appends import Tables, scaled, tables_of
from concord.prepared.label_keys import label_keys, read_labels
from concord.prepared.splits import SPLITS, divide
from concord.sandbox.source import read_spec
from concord.stage import outputs
from concord.stage.closure import ROOT
from concord.stage.paths import CANDIDATE, PREPARED

FLIPPED = "harmless"


@pytest.fixture(scope="module")
def source(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data of a small delivery, and an untrained model in place of the SFT model."""
    folder = tmp_path_factory.mktemp("source")
    spec = scaled(read_spec(ROOT / "data/raw/sandbox.yaml"), 0.02, 0)
    tables: Tables = tables_of(spec)
    prompts = tables["pairs"][["messages", "group_id"]].drop_duplicates("group_id")
    prompts = prompts.assign(domain="values", reference=None, prompt_id=prompts["group_id"])
    for name in ("pairs", "ratings", "steps", "prompts"):
        for split, table in divide({**tables, "prompts": prompts}[name], "0", 0.3, 0.2).items():
            outputs.write_table(folder / PREPARED / name / f"{split}.parquet", table)
    outputs.write_table(folder / PREPARED / "checks.parquet", tables["pairs"].assign(check="x"))
    shutil.copytree(tiny_model, folder / "models/sft")
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes for an untrained model."""
    real = flipped_labels.recipe

    def recipe(seed: int) -> dict[str, Any]:
        params = real(seed)
        params["policies"]["mah_dpo"]["training"] |= {
            "steps": 2,
            "batch_size": 4,
            "micro_batch": 4,
        }
        params["reward_models"]["values"]["l2"] = 10.0
        params["anchors"] = {"prompts": 4, "max_new_tokens": 8}
        params["evaluate"] |= {"validation_prompts": 2, "bootstrap": 20, "max_new_tokens": 8}
        return params

    monkeypatch.setattr(flipped_labels, "recipe", recipe)
    monkeypatch.setattr(flipped_labels, "PAIRS", 30)
    monkeypatch.setattr(flipped_labels, "PROMPTS", 4)


def test_only_the_labels_of_one_objective_differ(source: Path) -> None:
    honest, flipped = (dict(flipped_labels.labels_of(source, name)) for name in (None, FLIPPED))
    assert sum(len(honest[split]["pairs"]) for split in SPLITS) == 60
    for split in SPLITS:
        for name in ("pairs", "ratings"):
            one, other = honest[split][name], flipped[split][name]
            assert one["group_id"].equals(other["group_id"])
            same = label_keys(one) == label_keys(other)
            assert (same == (one["objective"] != FLIPPED)).all()


def test_candidates_are_trained_and_judged(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(source)
    arguments = ["flipped_labels", "--seeds", "1", "--objective", FLIPPED, "--work", str(tmp_path)]
    monkeypatch.setattr("sys.argv", arguments)
    flipped_labels.main()
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:4]] == ["| same", f"| flipped {FLIPPED}"]
    assert lines[3].split(" | ")[1].startswith("1 of 1")
    [data] = [
        row
        for row in outputs.read_json(tmp_path / f"flipped-{FLIPPED}-0/reports/gate.json")["gates"]
        if row["name"] == "data"
    ]
    assert data["holds"] is False
    assert all(f"{FLIPPED}: " in name for name in data["figures"])
    same = outputs.read_json(tmp_path / "same-0/reports/gate.json")
    assert "no label is new" in next(row["why"] for row in same["gates"] if row["name"] == "data")
    known = outputs.read_table(tmp_path / "champion-0" / CANDIDATE / "labels.parquet")
    labels = read_labels(tmp_path / "honest" / PREPARED)
    assert len(known) == len(labels["pairs"]) + len(labels["ratings"])
    times = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*-0/reports/gate.json")}
    flipped_labels.main()  # finished candidates are not trained again
    assert capsys.readouterr().out == printed
    assert times == {file: file.stat().st_mtime_ns for file in times}


def test_no_seed_is_begun_after_the_time(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source)
    begun: list[int] = []
    monkeypatch.setattr(flipped_labels, "prepare", lambda *_: None)
    monkeypatch.setattr(flipped_labels, "trial", lambda _, __, seed: begun.append(seed) or [])
    arguments = ["flipped_labels", "--minutes", "-1", "--work", str(tmp_path)]
    monkeypatch.setattr("sys.argv", arguments)
    flipped_labels.main()
    assert not begun


def test_the_tables_of_the_docs() -> None:
    row = {"seed": 0, "labels": "same", "refused": False, "refused without data": False}
    worse = {**row, "labels": "flipped", "refused": True, "failed": ["data", "hacking"]}
    differences = dict.fromkeys(flipped_labels.OBJECTIVES, -0.1)
    text = flipped_labels.markdown([{**row, "failed": [], **differences}, {**worse, **differences}])
    assert "| same | 0 of 1 (0.00 to 0.79) | 0 of 1 (0.00 to 0.79) | none |" in text
    assert "| flipped | 1 of 1 (0.21 to 1.00) | 0 of 1 (0.00 to 0.79) | data 1, hacking 1 |" in text
    assert "| 0 | flipped | -0.100 | -0.100 | data, hacking |" in text


def test_missing_models_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["flipped_labels"])
    with pytest.raises(flipped_labels.DataError, match="models/sft is missing; run"):
        flipped_labels.main()
