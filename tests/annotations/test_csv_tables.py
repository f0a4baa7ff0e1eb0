"""CSV of every dialect is read in full; quotes that swallow rows are refused."""

import gzip
from pathlib import Path

import pytest

from concord.annotations.files import objects
from concord.annotations.record import Record
from concord.stage.errors import DataError

NAMES = ["prompt", "chosen", "rejected"]
ROWS = [
    {"prompt": f"Q{n}?", "chosen": f"good {n}", "rejected": None if n == 7 else f"b {n}"}
    for n in range(20)
]


def table(delimiter: str = ",", end: str = "\n", names: list[str] = NAMES) -> str:
    lines = [delimiter.join(names), *(delimiter.join(v or "" for v in r.values()) for r in ROWS)]
    return end.join(lines) + end


def read(folder: Path, content: str | bytes, name: str = "x.csv") -> list[Record]:
    path = folder / name
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return list(objects(path))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n", "\r\n  \r\n"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.csv.gz"])
def test_every_dialect_holds_the_same_rows(
    tmp_path: Path, delimiter: str, end: str, name: str
) -> None:
    content = "\ufeff" + table(delimiter, end, [" prompt", "chosen ", "rejected"])
    assert [record.row for record in read(tmp_path, content, name)] == ROWS


def test_quoted_values_may_hold_delimiters_and_line_ends(tmp_path: Path) -> None:
    content = 'a;"b ""x"""\n"one;\ntwo";"1,5"\n"say ""hi""";5" pipe\n'
    records = read(tmp_path, content)
    assert [record.row for record in records] == [
        {"a": "one;\ntwo", 'b "x"': "1,5"},
        {"a": 'say "hi"', 'b "x"': '5" pipe'},
    ]
    assert [record.line for record in records] == [3, 4]


@pytest.mark.parametrize("position", [2, 10, 19])
def test_quote_that_never_closes_is_refused(tmp_path: Path, position: int) -> None:
    content = table().replace(f"good {position}", f'"good {position}', 1)
    with pytest.raises(DataError, match=f"quote that opens on line {position + 2} is never closed"):
        read(tmp_path, content)


def test_quote_that_closes_in_a_later_row_is_refused(tmp_path: Path) -> None:
    swallowed = table().replace("good 4,", '"good 4,').replace("good 11,", 'good 11",')
    with pytest.raises(DataError, match=r"opens on line 6 is closed on line 13"):
        read(tmp_path, swallowed)
    within = table().replace("good 4,", '"good 4,').replace("good 11,", 'go"od 11,')
    with pytest.raises(DataError, match=r"opens on line 6 is closed on line 13"):
        read(tmp_path, within)


def test_long_texts_over_many_lines_are_no_rows(tmp_path: Path) -> None:
    text = "One, two.\nThree.\n\nFour, five, six.\n- seven\n- eight, nine"
    records = read(tmp_path, f'a,b,c\n"{text}","{text}",x\ny,"{text}",z\n')
    assert [record.row for record in records] == [
        {"a": text, "b": text, "c": "x"},
        {"a": "y", "b": text, "c": "z"},
    ]


def test_ragged_rows_are_rejected_one_by_one(tmp_path: Path) -> None:
    records = read(tmp_path, 'a,b\n1,2\n1,2,3\n"x\ny"\n1,2\n')
    assert [record.row for record in records if record.row] == [{"a": "1", "b": "2"}] * 2
    details = [record.rejection.detail for record in records if record.rejection]
    assert details == ["has 3 values for 2 columns", "has 1 values for 2 columns"]


@pytest.mark.parametrize("names", ["a,b,a", 'a, a ,"b"', "a;b;a"])
def test_two_columns_with_one_name_are_refused(tmp_path: Path, names: str) -> None:
    with pytest.raises(DataError, match=r"has 2 columns called 'a'.*rename or remove one"):
        read(tmp_path, f"{names}\n1,2,3\n")


def test_columns_without_a_name_are_numbered(tmp_path: Path) -> None:
    assert read(tmp_path, ",a,\n0,x,\n")[0].row == {"column 1": "0", "a": "x", "column 3": None}


def test_bytes_of_another_encoding_are_named(tmp_path: Path) -> None:
    records = read(tmp_path, "a,b\nx,caf\xe9\ny,z\n".encode("cp1252"))
    rejection = records[0].rejection
    assert rejection is not None
    assert (rejection.reason, rejection.column) == ("not_utf8", "b")
    assert rejection.detail == (
        "the byte 0xE9 is not UTF-8, in Windows-1252 it is \xe9; save the file as UTF-8"
    )
    assert records[1].row == {"a": "y", "b": "z"}
    with pytest.raises(DataError, match="in the header, the byte 0xE9"):
        read(tmp_path, "caf\xe9,b\nx,y\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"is UTF-16.*iconv"):
        read(tmp_path, table().encode("utf-16"))


def test_cut_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress((table() * 400).encode())[:-30])
    with pytest.raises(DataError, match="is truncated or not a gzip file"):
        list(objects(path))
