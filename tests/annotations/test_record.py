"""Lines of a file: numbered, decoded one by one, and never a reason to stop."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.annotations.files import json_lines
from concord.annotations.record import demand_file, parse
from concord.stage.errors import DataError


def _file(folder: Path, content: bytes) -> Path:
    path = folder / "source.jsonl"
    path.write_bytes(content)
    return path


def test_each_line_is_an_object_or_says_why_not(tmp_path: Path) -> None:
    lines = [
        b'\xef\xbb\xbf{"a": 1}',
        b"",
        b'{"a": "\xff"}',
        b"[1]",
        b'{"a": 2}\r',
        b'{"a": NaN}',
        b"[" * 9999,
        b'{"a":',
    ]
    found = list(json_lines(_file(tmp_path, b"\n".join(lines))))
    assert [
        (record.line, record.rejection.reason if record.rejection else record.row)
        for record in found
    ] == [
        (1, {"a": 1}),  # the mark at the beginning of the file is no content
        (3, "not_utf8"),
        (4, "wrong_type"),
        (5, {"a": 2}),
        (6, "not_json"),
        (7, "not_json"),
        (8, "not_json"),  # cut off
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
def test_what_is_no_text_fails_at_once(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(json_lines(_file(tmp_path, content)))


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there; correct its path"):
        demand_file(tmp_path / "x")
    (tmp_path / "x.dvc").write_text("outs:")
    with pytest.raises(DataError, match="run `dvc pull`"):
        demand_file(tmp_path / "x")
    with pytest.raises(DataError, match="is not a file"):
        demand_file(tmp_path)


@given(
    st.dictionaries(
        st.text(), st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False)
    )
)
def test_every_object_is_read_as_it_was_written(row: dict[str, object]) -> None:
    assert parse(1, json.dumps(row)).row == row


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    record = parse(1, text)
    assert (record.row is None) != (record.rejection is None)


@given(st.dictionaries(st.sampled_from("abc"), st.text(min_size=1), min_size=1), st.data())
def test_an_object_cut_off_is_rejected(row: dict[str, str], data: st.DataObject) -> None:
    text = json.dumps(row)
    cut = text[: data.draw(st.integers(1, len(text) - 1))]
    assert parse(1, cut).rejection is not None
