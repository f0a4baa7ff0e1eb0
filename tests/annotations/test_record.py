"""JSON lines are numbered, and an invalid line does not affect the others."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.annotations.filetypes.content import check_file
from concord.annotations.filetypes.json_lines import json_lines
from concord.annotations.record import parse
from concord.stage.errors import DataError


def _file(folder: Path, content: bytes) -> Path:
    path = folder / "source.jsonl"
    path.write_bytes(content)
    return path


def test_each_line_is_an_object_or_rejected(tmp_path: Path) -> None:
    lines = [
        b'\xef\xbb\xbf{"a": 1}',
        b"",
        b'{"a": "\xff"}',
        b"[1]",
        b'{"a": 2}\r',
        b'{"a": -Infinity}',
        b'{"a": 1, "b": {"c": 1, "c": 2}}',
        b"[" * 9999,
        b'{"a":',
    ]
    records = list(json_lines(_file(tmp_path, b"\n".join(lines))))
    assert [
        (record.line, record.rejection.reason if record.rejection else record.row)
        for record in records
    ] == [
        (1, {"a": 1}),  # the byte order mark is removed
        (3, "not_utf8"),
        (4, "wrong_type"),
        (5, {"a": 2}),
        (6, {"a": -math.inf}),
        (7, "repeated_key"),
        (8, "not_json"),
        (9, "not_json"),  # truncated
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"\x1f\x8b\x08\x00", "is gzip, not UTF-8"),
        (b"PAR1....", "is parquet"),
        (b"\xff\xfea\x00", "is UTF-16"),
    ],
)
def test_files_other_than_text_raise(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(json_lines(_file(tmp_path, content)))


def test_error_for_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist; correct its path"):
        check_file(tmp_path / "x")
    (tmp_path / "x.dvc").write_text("outs:")
    with pytest.raises(DataError, match="run `dvc pull`"):
        check_file(tmp_path / "x")
    with pytest.raises(DataError, match="is not a file"):
        check_file(tmp_path)


@given(
    st.dictionaries(
        st.text(), st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False)
    )
)
def test_every_object_is_read_back(row: dict[str, object]) -> None:
    assert parse(1, json.dumps(row)).row == row


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ('{"a": 1, "b": 2, "a": 3}', "a"),
        ('{"a" : 1, "a" : 3}', "a"),
        ('{"x": [{"b": 1, "b": 2}], "y": "says \\": "}', "b"),
    ],
)
def test_repeated_key_is_rejected_by_name(text: str, column: str) -> None:
    rejection = parse(1, text).rejection
    assert rejection is not None
    assert (rejection.reason, rejection.column) == ("repeated_key", column)


def test_text_that_looks_like_a_repeated_key_is_read() -> None:
    row = {"a": 'he wrote "a": 1, "a" : 2', "b": [{"a": '":'}, {"a": '": "'}]}
    assert parse(1, json.dumps(row)).row == row


def test_rows_as_python_prints_them_say_what_to_do() -> None:
    rejection = parse(1, "{'prompt': 'Hi.'}").rejection
    assert rejection is not None
    assert "write the rows with json.dumps" in rejection.detail


@given(st.text())
def test_any_text_gives_a_row_or_a_rejection(text: str) -> None:
    record = parse(1, text)
    assert (record.row is None) != (record.rejection is None)


@given(st.dictionaries(st.sampled_from("abc"), st.text(min_size=1), min_size=1), st.data())
def test_truncated_object_is_rejected(row: dict[str, str], data: st.DataObject) -> None:
    text = json.dumps(row)
    truncated = text[: data.draw(st.integers(1, len(text) - 1))]
    assert parse(1, truncated).rejection is not None
