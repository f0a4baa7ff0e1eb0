"""Files that were parsed before are not parsed again, and the tables have the same bytes."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from concord.annotations import chunks, reader
from concord.annotations.parsed_files import ParsedFiles
from concord.stage.errors import DataError
from tasks.ingest import IngestParams, Source, parsed_files, run

PARAMS = IngestParams(0.5)
SOURCE = Source(
    "trl",
    "data",
    columns={"chosen": "better", "margin": "gap"},
    options={"objective": "helpful"},
    prompts="values",
)


def rows(start: int, count: int = 12) -> list[dict[str, Any]]:
    """Pairs, of which some repeat those of other files, and some are invalid."""
    pairs = []
    for number in range(start, start + count):
        pair = {"prompt": f"Why {number}?", "better": f"So {number}.", "rejected": "No."}
        pairs.append({**pair, "gap": 1.5} if number % 3 else pair)
    return [*pairs, {**pairs[0], "rejected": "So 0." if start == 0 else ""}, {"prompt": 3}]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, content in (("b", rows(0)), ("a", rows(6)), ("sub/c", rows(9))):
        write(tmp_path / f"data/{name}.jsonl", content)
    return tmp_path


def write(path: Path, content: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")


def ingest(parsed: ParsedFiles | None, source: Source = SOURCE) -> dict[str, bytes]:
    """The bytes of every output."""
    run("mine", source, PARAMS, Path("out"), parsed)
    return {file.name: file.read_bytes() for file in Path("out").iterdir()}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are parsed."""
    names, original = [], reader.read_one

    def noting(name: str, file: Path, *rest: Any) -> Any:
        names.append(file.stem)
        return original(name, file, *rest)

    monkeypatch.setattr(reader, "read_one", noting)
    return names


def entries() -> list[Path]:
    return sorted(Path("work/parsed/mine").iterdir())


@pytest.mark.parametrize("size", [3, 20_000])
def test_only_new_files_are_parsed_and_the_bytes_are_those_without_the_cache(
    project: Path, read: list[str], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK", size)
    expected = ingest(None)
    assert json.loads(expected["report.json"])["by_reason"]["duplicate"] > 0
    assert len(expected) == 7
    assert ingest(parsed_files("mine", SOURCE)) == expected
    read.clear()
    assert ingest(parsed_files("mine", SOURCE)) == expected
    assert read == []
    write(project / "data/aa.jsonl", rows(20))
    (project / "data/sub/c.jsonl").rename(project / "data/sub/d.jsonl")
    again = ingest(parsed_files("mine", SOURCE))
    assert read == ["aa"]
    assert again == ingest(None) != expected
    assert len(entries()) == 4
    (project / "data/a.jsonl").unlink()
    ingest(parsed_files("mine", SOURCE))
    assert len(entries()) == 3


def test_damaged_entries_are_noticed_and_parsed_again(
    project: Path, read: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    expected = ingest(parsed_files("mine", SOURCE))
    drawn = random.Random(0)
    for number in range(30):
        read.clear()
        entry = drawn.choice(entries())
        content = bytearray(entry.read_bytes())
        position = drawn.randrange(len(content))
        if number % 3:
            content[position] ^= 1 << drawn.randrange(8)
        else:
            del content[position:]
        entry.write_bytes(bytes(content))
        assert ingest(parsed_files("mine", SOURCE)) == expected
        assert len(read) == 1
        assert f"{entry.name} is damaged" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [
        {"prompts": None},
        {"options": {"objective": "honest"}},
        {"columns": {"chosen": "better"}},
    ],
)
def test_other_settings_parse_again(
    project: Path, read: list[str], change: Mapping[str, Any]
) -> None:
    ingest(parsed_files("mine", SOURCE))
    changed = Source(**{**vars(SOURCE), **change})
    read.clear()
    assert ingest(parsed_files("mine", changed), changed) == ingest(None, changed)
    assert read[:3] == ["a", "b", "c"]


def test_other_code_or_another_extension_parses_again(project: Path, read: list[str]) -> None:
    folder = Path("work/parsed/mine")
    ingest(ParsedFiles(folder, "trl", {"trl.py": "1"}))
    ingest(ParsedFiles(folder, "trl", {"trl.py": "2"}))
    assert read == ["a", "b", "c"] * 2
    read.clear()
    (project / "data/a.jsonl").rename(project / "data/a.json")
    ingest(ParsedFiles(folder, "trl", {"trl.py": "2"}))
    assert read == ["a"]


def test_a_file_that_cannot_be_read_leaves_no_entry_and_the_others_are_kept(
    project: Path, read: list[str]
) -> None:
    write(project / "data/y.jsonl", rows(30, 120))
    (project / "data/z.jsonl").write_bytes(b"\x1f\x8bnot json")
    with pytest.raises(DataError, match=r"z\.jsonl"):
        ingest(parsed_files("mine", SOURCE))
    assert len(entries()) == 4
    assert not Path("out").exists()
    write(project / "data/z.jsonl", rows(200))
    read.clear()
    ingest(parsed_files("mine", SOURCE))
    assert read == ["z"]


def test_columns_are_checked_over_all_files(project: Path) -> None:
    """`gap` is in two of three files only: no error. A column of none is one, cached or not."""
    write(project / "data/b.jsonl", [{"prompt": "a", "better": "b", "rejected": "c", "x": 1}])
    ingest(parsed_files("mine", SOURCE))
    report = json.loads(ingest(parsed_files("mine", SOURCE))["report.json"])
    assert report["unused_columns"] == ["x"]
    wrong = Source(**{**vars(SOURCE), "columns": {"chosen": "better", "margin": "gpa"}})
    for _ in range(2):
        with pytest.raises(DataError, match="no row has the column 'gpa'; did you mean gap"):
            ingest(parsed_files("mine", wrong), wrong)
