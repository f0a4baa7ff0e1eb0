"""Files of every kind yield the same objects; invalid objects are reported with their line."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.annotations.files import objects
from concord.annotations.filetypes.folders import extension
from concord.stage.errors import DataError

ROWS: list[dict[str, Any]] = [
    {"a": "one", "b": "1"},
    {"a": "zw\u00f6lf\nlines", "b": "2"},
    {"a": "three, \u201cso\u201d", "b": None},
]


def json_lines(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Writes the rows in the format of the file's extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = extension(path)
    if kind == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    if kind == ".csv":
        with path.open("w", encoding="utf-8", newline="") as stream:
            table = csv.DictWriter(stream, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
        return path
    content = (
        json.dumps(rows, indent=1).encode() if path.name.startswith("array") else json_lines(rows)
    )
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "x.jsonl",
        "x.ndjson",
        "x.json",
        "array.json",
        "array.json.gz",
        "x.jsonl.gz",
        "x.csv",
        "x.parquet",
        "X.JSONL",
    ],
)
def test_every_kind_of_file_yields_the_same_objects(tmp_path: Path, name: str) -> None:
    records = list(objects(write(tmp_path / name, ROWS)))
    assert [record.row for record in records] == ROWS
    assert [record.line for record in records] == {
        "array.json": [2, 6, 10],
        "array.json.gz": [2, 6, 10],
        "x.csv": [2, 4, 5],  # the second row spans two lines
    }.get(name, [1, 2, 3])
    assert {record.file for record in records} == {""}


def test_folder_is_read_file_by_file(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", ROWS[:1])
    write(tmp_path / "a" / "part-1.csv", ROWS[1:2])
    write(tmp_path / "c.parquet", ROWS[2:])
    (tmp_path / "README.md").write_text("about")
    records = [(record.file, record.row) for record in objects(tmp_path)]
    assert [file for file, _ in records] == ["a/part-1.csv", "b.jsonl", "c.parquet"]
    assert [row for _, row in records] == [ROWS[1], ROWS[0], ROWS[2]]


def test_invalid_lines_do_not_affect_the_others(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(
        gzip.compress(json_lines(ROWS[:1]) + b'\n{"a": "cut\n\xff\n' + json_lines(ROWS[1:]))
    )
    records = list(objects(path))
    assert [record.row for record in records if record.row] == ROWS
    assert [(r.line, r.rejection.reason) for r in records if r.rejection] == [
        (2, "not_json"),
        (3, "not_utf8"),
    ]


@pytest.mark.parametrize("line", [b"1,2,3", b"1", b'"1"x,2'])
def test_row_with_a_wrong_number_of_fields_is_rejected(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b\n1,2\n" + line + b"\n3,4\n")
    records = list(objects(path))
    assert [record.row for record in records if record.row] == [
        {"a": "1", "b": "2"},
        {"a": "3", "b": "4"},
    ]
    assert [(record.line, record.rejection.reason) for record in records if record.rejection] == [
        (3, "wrong_type")
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", b"words", r"has none of the extensions \.jsonl"),
        ("x.jsonl", b"", "is empty"),
        ("x.jsonl", gzip.compress(b"{}", mtime=0), "is gzip, not UTF-8 text"),
        (
            "x.jsonl.gz",
            gzip.compress(b'{"a": 1}' * 99, mtime=0)[:-12],
            "is truncated or not a gzip file",
        ),
        ("x.jsonl.gz", b"{}\n", "is plain text, not gzip"),
        ("x.parquet", b"PAR1 and no more", "is not a readable Parquet file"),
        ("x.json", b'[{"a": "\xff"}]', r"is not UTF-8 \(line 1\): the byte 0xFF"),
    ],
)
def test_content_must_match_the_extension(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(objects(path))


def test_folder_without_data_raises(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("about")
    with pytest.raises(DataError, match=r"contains no \.jsonl"):
        list(objects(tmp_path))
    with pytest.raises(DataError, match="does not exist"):
        list(objects(tmp_path / "gone"))


KEYS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1)


@given(
    rows=st.lists(st.fixed_dictionaries({"a": VALUES, "b": VALUES}), min_size=1, max_size=4),
    data=st.data(),
)
def test_text_is_read_back_from_every_kind_of_file(
    tmp_path_factory: pytest.TempPathFactory, rows: Any, data: Any
) -> None:
    name = data.draw(st.sampled_from(["x.jsonl", "array.json", "x.csv", "x.parquet", "x.jsonl.gz"]))
    path = write(tmp_path_factory.mktemp("files") / name, rows)
    assert [record.row for record in objects(path)] == rows
