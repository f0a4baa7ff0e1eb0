"""Parquet and Arrow: values that Python cannot hold do not end in a traceback."""

from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from concord.annotations.files import objects, rows_in
from concord.annotations.record import Record
from concord.stage.errors import DataError


def read(folder: Path, table: Any) -> list[Record]:
    path = folder / "x.parquet"
    pq.write_table(table, path)
    return list(objects(path))


def not_utf8(values: list[bytes]) -> Any:
    return pa.Array.from_buffers(pa.string(), len(values), pa.array(values, pa.binary()).buffers())


def test_bytes_that_are_not_utf8_reject_their_row(tmp_path: Path) -> None:
    column = not_utf8([b"good", b"na\xefve", b"fine"])
    first, bad, last = read(tmp_path, pa.table({"n": [1, 2, 3], "text": column}))
    assert (first.row, last.row) == ({"n": 1, "text": "good"}, {"n": 3, "text": "fine"})
    assert bad.rejection is not None
    assert (bad.line, bad.rejection.reason, bad.rejection.column) == (2, "not_utf8", "text")
    assert "0xEF" in bad.rejection.detail


def test_nested_bytes_that_are_not_utf8_reject_their_row(tmp_path: Path) -> None:
    turns = pa.StructArray.from_arrays([not_utf8([b"a", b"\xff", b"c"])], ["content"])
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 3]), turns)
    first, bad = read(tmp_path, pa.table({"turns": lists}))
    assert first.row == {"turns": [{"content": "a"}]}
    assert bad.rejection is not None
    assert bad.rejection.column == "turns"


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        (pa.timestamp("ms"), 2**60),
        (pa.timestamp("us", "UTC"), 2**62),
        (pa.timestamp("us"), -(2**62)),
        (pa.date32(), 2**30),
        (pa.duration("ms"), 2**60),
    ],
)
def test_dates_beyond_those_of_python_become_text(tmp_path: Path, kind: Any, number: int) -> None:
    day = pa.array([number, None], pa.int32() if kind == pa.date32() else pa.int64()).cast(kind)
    nested = pa.StructArray.from_arrays([day], ["at"])
    first, second = read(tmp_path, pa.table({"text": ["a", "b"], "day": day, "more": nested}))
    assert first.row is not None
    assert first.row["text"] == "a"
    assert str(number) in first.row["day"]
    assert str(number) in first.row["more"]["at"]
    assert second.row == {"text": "b", "day": None, "more": {"at": None}}


def test_columns_with_the_same_name_are_refused(tmp_path: Path) -> None:
    columns = [pa.array(["a"]), pa.array(["b"])]
    with pytest.raises(DataError, match="has 2 columns called 'text'"):
        read(tmp_path, pa.Table.from_arrays(columns, ["text", "text"]))
    nested = pa.StructArray.from_arrays(columns, ["say", "say"])
    with pytest.raises(DataError, match="objects in column 'turn' have the key 'say' twice"):
        read(tmp_path, pa.table({"turn": nested}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer.*git lfs pull"),
        (b"PAR1 and no more", "is not a readable Parquet file"),
        (b"PARE encrypted PARE", "is encrypted Parquet"),
        (b"PK\x03\x04", "is zip, not Parquet"),
        (b"", "is empty"),
        (b"a,b\n1,2\n", "is not a readable Parquet file"),
    ],
)
@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
def test_other_content_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    if name == "x.arrow":
        content = content.removeprefix(b"PAR1 ")
        message = message.replace("not Parquet", "not Arrow").replace("Parquet file", "Arrow file")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        list(objects(tmp_path / name))
    assert "\n" not in str(error.value)


def test_truncated_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": [str(n) for n in range(9000)]}), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="is not a readable Parquet file"):
        list(objects(path))


def test_folder_of_save_to_disk_is_read(tmp_path: Path) -> None:
    rows = [{"text": f"answer {n}"} for n in range(30)]
    parts = datasets.DatasetDict(
        train=datasets.Dataset.from_list(rows), test=datasets.Dataset.from_list(rows[:3])
    )
    parts.save_to_disk(str(tmp_path / "saved"), num_shards={"train": 2, "test": 1})
    (tmp_path / "saved" / "train" / "cache-1.arrow").write_bytes(b"left by map()")
    records = list(objects(tmp_path / "saved"))
    assert [record.row for record in records] == rows[:3] + rows
    assert {record.file for record in records} == {
        "test/data-00000-of-00001.arrow",
        "train/data-00000-of-00002.arrow",
        "train/data-00001-of-00002.arrow",
    }


def test_both_kinds_of_arrow_files_are_read_and_counted(tmp_path: Path) -> None:
    table = pa.table({"n": list(range(2500))})
    for name, new in (("stream.arrow", pa.ipc.new_stream), ("file.arrow", pa.ipc.new_file)):
        with new(tmp_path / name, table.schema) as writer:
            writer.write_table(table, max_chunksize=1000)
        assert [record.row for record in objects(tmp_path / name)] == table.to_pylist()
        assert rows_in(tmp_path / name) == 2500
