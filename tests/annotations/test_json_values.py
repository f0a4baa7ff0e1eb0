"""JSON that is not one object per line is read in full, or refused with what to do."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from concord.annotations.files import objects, rows_in
from concord.annotations.record import Record
from concord.stage.errors import DataError

ROWS = [{"prompt": f"Question {n}?", "turns": [{"role": "user", "say": "[{"}]} for n in range(40)]
ENTRIES = [json.dumps(row) for row in ROWS]


def read(folder: Path, content: str | bytes, name: str = "x.json") -> list[Record]:
    path = folder / name
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return list(objects(path))


def outcome(records: list[Record]) -> list[Any]:
    return [record.rejection.reason if record.rejection else record.row for record in records]


LAYOUTS = {
    "one array": json.dumps(ROWS),
    "a pretty array": json.dumps(ROWS, indent=2),
    "an array with a trailing comma": f"[{','.join(ENTRIES)},]",
    "several arrays": f"{json.dumps(ROWS[:9])}\n{json.dumps(ROWS[9:], indent=1)}\n",
    "an array and an empty one": f"{json.dumps(ROWS)}[]",
    "pretty objects": "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "pretty objects with commas": ",\n".join(json.dumps(row, indent=2) for row in ROWS),
    "objects without line ends": "".join(ENTRIES),
    "lines": "\n".join(ENTRIES),
    "lines with CRLF and a BOM": "\ufeff" + "\r\n".join(ENTRIES),
    "lines with CR": "\r".join(ENTRIES) + "\r",
    "lines with blank ones between": "\n \n\r\n".join(ENTRIES),
    "a list in an object": json.dumps({"version": 1, "data": ROWS, "more": [1]}),
    "a list in a pretty object": json.dumps({"rows": ROWS}, indent=2),
    "an array that ends in blank lines": json.dumps(ROWS) + "\n\r\n \n",
    "a pretty array with CR": json.dumps(ROWS, indent=1).replace("\n", "\r"),
}


@pytest.mark.parametrize("name", ["x.json", "x.jsonl", "x.json.gz"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_holds_the_same_rows(tmp_path: Path, layout: str, name: str) -> None:
    records = read(tmp_path, LAYOUTS[layout], name)
    assert [record.row for record in records] == ROWS
    assert rows_in(tmp_path / name) == len(ROWS)


def test_lines_of_elements_are_counted_in_pretty_files(tmp_path: Path) -> None:
    assert [record.line for record in read(tmp_path, '[\n{"a":\n1},\n\n{"a": 2}]')] == [2, 5]
    assert [record.line for record in read(tmp_path, '{"data": [\n{"a":\n1},\n{"a": 2}]}')] == [
        2,
        4,
    ]


BROKEN = {
    "a raw line end in a text": ENTRIES[30].replace("30?", "30\n?"),
    "quotes that are not escaped": ENTRIES[30].replace("30?", 'he "said" so'),
    "a value that is missing": ENTRIES[30].replace('"Question 30?"', ""),
    "a key without quotes": ENTRIES[30].replace('"turns"', "turns"),
    "a name that is not JSON": ENTRIES[30].replace('"Question 30?"', "None"),
}


@pytest.mark.parametrize("separator", [", ", ",\n", ","])
@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("position", [0, 30, 39])
def test_broken_element_is_rejected_and_the_others_are_read(
    tmp_path: Path, broken: str, separator: str, position: int
) -> None:
    others = [entry for entry in ENTRIES if entry != ENTRIES[30]]
    others.insert(position, BROKEN[broken])
    records = read(tmp_path, f"[{separator.join(others)}]")
    rows = [row for row in ROWS if row != ROWS[30]]
    expected: list[Any] = [*rows[:position], "not_json", *rows[position:]]
    assert outcome(records) == expected


def test_elements_that_are_no_objects_are_rejected_one_by_one(tmp_path: Path) -> None:
    records = read(tmp_path, '[{"a": 1}, 3, "x", null, [1, 2], {"a": NaN, "a": 2}, {"a": 2}]')
    assert outcome(records) == [{"a": 1}, *["wrong_type"] * 4, "repeated_key", {"a": 2}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"[{','.join(ENTRIES[:9])}", "is broken or cut off: where element 10"),
        (f"[{','.join(ENTRIES)}"[:-9], r"where element 40 .*\(39 elements before it\)"),
        (f"[{','.join(ENTRIES)}", "is broken or cut off"),
        (f"[{ENTRIES[0]},", "is broken or cut off: where element 2"),
        (f"[{ENTRIES[0][:-1]}, {ENTRIES[1]}]", "brackets do not match"),
        (f'[{ENTRIES[0]}, {{"prompt": "a"b"}}, {ENTRIES[1]}]', "is broken|second count|brackets"),
        (f"{json.dumps(ROWS)}\nDone.", "other text after the end of its JSON array, on line 2"),
        (f"{json.dumps(ROWS)}, {json.dumps(ROWS)}", "other text after the end"),
        (f"{json.dumps(ROWS)}{ENTRIES[0]}", "other text after the end"),
        (json.dumps(ROWS[0], indent=1)[:-3], "several lines, and number 1.*broken or cut off"),
        (json.dumps({"train": ROWS, "test": ROWS}), "rows under train and test.*jq"),
        (json.dumps({"a": {"0": "x", "1": "y"}, "b": {"0": "x", "1": "y"}}), "by columns.*orient"),
        (json.dumps({"one": ROWS[0], "two": ROWS[1]}), r"rows under names.*jq -c '\.\[\]'"),
    ],
)
def test_file_whose_rows_are_not_certain_is_refused(
    tmp_path: Path, content: str, message: str
) -> None:
    with pytest.raises(DataError, match=message) as error:
        read(tmp_path, content)
    assert "\n" not in str(error.value)


def test_two_broken_elements_cannot_hide_the_good_ones_between(tmp_path: Path) -> None:
    """A quote opens in one element and closes in another: what is between would be one string."""
    entries = [*ENTRIES]
    entries[3] = entries[3].replace("Question", 'Ques"tion')
    entries[8] = entries[8].replace("Question", 'Ques"tion')
    try:
        records = read(tmp_path, f"[{', '.join(entries)}]")
    except DataError:
        return
    assert [record.row for record in records if record.row] == ROWS[:3] + ROWS[4:8] + ROWS[9:]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_random_damage_never_loses_a_row(tmp_path: Path, layout: str) -> None:
    """Every row is read, rejected, or the file is refused: none is missing from the records."""
    draw = random.Random(0)
    text = LAYOUTS[layout].encode()
    for _ in range(40):
        start = draw.randrange(len(text))
        cut = draw.choice([b"", b'"', b"}", b"]", b"\n", b"\\", b"\xff", b",", b"{"])
        damaged = text[:start] + cut + text[start + draw.choice([0, 1]) :]
        try:
            records = read(tmp_path, damaged)
        except DataError:
            continue
        whole = sum(record.row in ROWS for record in records)
        if not whole:  # `ingest` refuses a source of which no row is kept
            continue
        assert whole >= len(ROWS) - 2
        assert len(records) >= len(ROWS) - 1


def test_special_numbers_are_read_in_every_layout(tmp_path: Path) -> None:
    for content in ('{"a": NaN}\n{"a": 2}', '[{"a": NaN}, {"a": 2}]', '{"data": [{"a": NaN}]}'):
        first = read(tmp_path, content)[0].row
        assert first is not None
        assert first["a"] != first["a"]


def test_line_separators_and_giant_lines_are_text(tmp_path: Path) -> None:
    rows = [{"a": "one\u2028two\u0085three"}, {"a": "x" * 5_000_000}, {"a": "y"}]
    content = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert [record.row for record in read(tmp_path, content, "x.jsonl")] == rows
    assert [record.row for record in read(tmp_path, json.dumps({"data": rows}))] == rows
