"""The table of labelled steps: human labels and the labels of sampled answers."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from concord.rewards.process.step_table import COLUMNS, human_rows, require_labels, step_table
from concord.stage import outputs
from concord.stage.errors import DataError

ROW: dict[str, Any] = {
    "messages": [{"role": "user", "content": "?"}],
    "steps": ["a. ", "b."],
    "objective": "fun",
    "labels": [1.0, None],
    "label_kind": "binary",
    "group_id": "g",
    "source": "people",
}


def test_the_table_has_only_its_columns() -> None:
    table = step_table([{**ROW, "reference": "2", "completed": []}])
    assert list(table.columns) == COLUMNS
    assert step_table([]).columns.tolist() == COLUMNS


def test_human_labels_of_other_objectives_are_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame([ROW, {**ROW, "objective": "other"}])
    outputs.write_table("data/prepared/steps/train.parquet", frame)
    assert [row["objective"] for row in human_rows("train", ["fun", "clear"])] == ["fun"]
    assert "1 answers with human step labels used, 1 of other" in capsys.readouterr().out


def test_every_objective_needs_a_labelled_step() -> None:
    require_labels(step_table([ROW]), ["fun"])
    unlabelled = {**ROW, "objective": "clear", "labels": [None, None]}
    with pytest.raises(DataError, match="no steps are labelled for clear, so"):
        require_labels(step_table([ROW, unlabelled]), ["fun", "clear"])
