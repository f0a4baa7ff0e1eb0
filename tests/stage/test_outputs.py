"""Outputs are written atomically, and tables survive a round trip."""

import contextlib
import errno
import json
import os
import random
import stat
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from concord.stage import outputs
from concord.stage.errors import DataError


def _interrupted_folder(target: Path) -> None:
    with outputs.directory(target) as folder:
        (folder / "new").write_text("2")
        raise RuntimeError


def _interrupted_file(target: Path) -> None:
    with outputs.file(target) as partial:
        partial.write_text("2")
        raise RuntimeError


def test_a_folder_replaces_the_old_one_only_on_success(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with outputs.directory(target) as folder:
        (folder / "old").write_text("1")
    with pytest.raises(RuntimeError):
        _interrupted_folder(target)
    assert [file.name for file in tmp_path.rglob("*")] == ["out", "old"]
    with outputs.directory(target) as folder:
        (folder / "new").write_text("2")
    assert [file.name for file in tmp_path.rglob("*")] == ["out", "new"]


def test_leftovers_of_a_killed_stage_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "half").write_text("1")
    with outputs.directory(tmp_path / "out") as folder:
        (folder / "whole").write_text("2")
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["out", "whole"]


def test_a_file_is_unchanged_after_an_error(tmp_path: Path) -> None:
    outputs.write_text(tmp_path / "a" / "x.txt", "1")
    with pytest.raises(TypeError):
        outputs.write_json(tmp_path / "a" / "x.txt", {"a": object()})
    with pytest.raises(RuntimeError):
        _interrupted_file(tmp_path / "a" / "x.txt")
    assert [(file.name, file.read_text()) for file in (tmp_path / "a").iterdir()] == [
        ("x.txt", "1")
    ]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_decides_who_can_read(tmp_path: Path, mask: int, mode: int) -> None:
    """safetensors writes files that only their owner can read."""
    before = os.umask(mask)
    try:
        with outputs.directory(tmp_path / "model") as folder:
            save_file({"weight": np.zeros(2)}, folder / "model.safetensors")
            (folder / "inner").mkdir()
            save_file({"weight": np.zeros(2)}, folder / "inner/model.safetensors")
        outputs.write_json(tmp_path / "report.json", {})
        outputs.write_table(tmp_path / "table.parquet", pd.DataFrame({"a": [1]}))
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {mode}


def test_json_is_sorted_plain_and_valid(tmp_path: Path) -> None:
    content = {
        "b": np.float32(0.5),
        "a": [float("nan"), np.array([1.0, np.inf])],
        "é": (np.int64(3), True, None),
    }
    outputs.write_json(tmp_path / "x.json", content)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert (
        json.loads(text)
        == {"a": [None, [1.0, None]], "b": 0.5, "é": [3, True, None]}
        == outputs.read_json(tmp_path / "x.json")
    )
    assert text.startswith('{\n "a"')
    assert text.endswith("}\n")


FRAME = pd.DataFrame(
    {
        "messages": pd.Series([[{"role": "user", "content": "q"}], []], dtype=object),
        "reference": pd.Series([None, "4"], dtype=object),
        "labels": pd.Series([[1.0, None], []], dtype=object),
        "steps": pd.Series([["a", "b"], []], dtype=object),
        "margin": [np.nan, 0.5],
        "count": [1, 2],
    }
)


def test_a_table_round_trip(tmp_path: Path) -> None:
    outputs.write_table(tmp_path / "x.parquet", FRAME)
    back = outputs.read_table(tmp_path / "x.parquet")
    pd.testing.assert_frame_equal(back, FRAME)
    assert back["reference"][0] is None
    assert back["messages"][0] == [{"role": "user", "content": "q"}]


def test_an_empty_table_keeps_its_columns_and_types(tmp_path: Path) -> None:
    outputs.write_table(tmp_path / "x.parquet", FRAME.iloc[:0])
    pd.testing.assert_frame_equal(outputs.read_table(tmp_path / "x.parquet"), FRAME.iloc[:0])


def test_a_folder_with_an_equals_sign_adds_no_column(tmp_path: Path) -> None:
    outputs.write_table(tmp_path / "a=1" / "x.parquet", FRAME)
    assert list(outputs.read_table(tmp_path / "a=1" / "x.parquet")) == list(FRAME)


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    outputs.write_table(tmp_path / "x.parquet", FRAME)
    outputs.write_table(tmp_path / "y.parquet", FRAME.copy())
    assert (tmp_path / "x.parquet").read_bytes() == (tmp_path / "y.parquet").read_bytes()


def test_a_missing_file_names_the_stage_to_run(tmp_path: Path) -> None:
    for reader in (outputs.read_table, outputs.read_json):
        with pytest.raises(DataError, match="x does not exist; run the stage that writes it"):
            reader(tmp_path / "x")


def _table(path: Path) -> bytes:
    outputs.write_table(path, pd.DataFrame({"a": ["x" * n for n in range(99)], "b": range(99)}))
    return path.read_bytes()


def test_damaged_tables_are_named(tmp_path: Path) -> None:
    """Cut, or with other bytes: every table is read, or refused in one sentence."""
    file, draw, refused = tmp_path / "t.parquet", random.Random(0), 0
    content = _table(file)
    for number in range(300):
        damaged = bytearray(content[: draw.randrange(len(content)) if number % 3 == 0 else None])
        for _ in range(3):
            where = draw.randrange(min(len(damaged), 600)) if damaged else 0
            damaged[-where - 1 : len(damaged) - where] = bytes([draw.randrange(256)])
        file.write_bytes(damaged)
        with contextlib.suppress(DataError):
            outputs.read_table(file)
            continue
        refused += 1
    assert refused > 200


@pytest.mark.parametrize(
    "error", [PermissionError(errno.EACCES, "Permission denied"), pa.ArrowMemoryError("8 GiB")]
)
def test_what_is_not_damage_is_not_called_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Else its message would say to delete the file."""
    _table(tmp_path / "t.parquet")
    monkeypatch.setattr(pq.ParquetFile, "read", Mock(side_effect=error))
    with pytest.raises(type(error)):
        outputs.read_table(tmp_path / "t.parquet")


def test_the_error_of_a_stage_is_not_hidden_by_cleaning_up(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError), outputs.directory(tmp_path / "out") as folder:
        folder.rename(tmp_path / "elsewhere").mkdir()
