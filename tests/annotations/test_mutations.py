"""Damaged files: every row is read or rejected, or the file is refused in one sentence.

Each fixture gets 200 random mutations: half of them change its rows, half of them its bytes.
"""

import csv
import functools
import io
import json
import random
import re
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from concord.annotations import files, reader
from concord.annotations.inspection.recognition import fault
from concord.annotations.quarantine import REASONS
from concord.annotations.record import Record
from concord.stage import plugins
from concord.stage.errors import ConcordError
from tasks.ingest import IngestParams, Source, run
from tests.annotations.fixtures import FILES, FIXTURES, Fixture
from tests.annotations.mutations import BYTES, changed_rows, json_lines

MUTATIONS = 200
LINE = re.compile(rb"[^\r\n]+")


@pytest.fixture(autouse=True)
def cached_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finds the formats once, because thousands of files are read."""
    for name in ("object_formats", "_module"):
        monkeypatch.setattr(reader, name, functools.cache(getattr(reader, name)))


def seeded(*parts: Any) -> random.Random:
    """A generator that depends on the parts only."""
    return random.Random(zlib.crc32(repr(parts).encode()))


def records_of(path: Path, name: str, options: dict[str, Any]) -> list[Record] | str:
    """The records of a file, or the message that refuses it."""
    try:
        records = list(reader.read(name, path, options, {}))
    except ConcordError as error:
        return str(error)
    assert {fault(record) for record in records} <= {None, *REASONS}
    return records


def objects_in(text: str) -> int | None:
    """The number of JSON objects one after the other, or None if there is something else."""
    count, position = 0, len(text) - len(text.lstrip())
    while position < len(text):
        try:
            value, position = json.JSONDecoder().raw_decode(text, position)
        except ValueError:
            return None
        if not isinstance(value, dict):
            return None
        count += 1
        position += len(text[position:]) - len(text[position:].lstrip())
    return count


def rows_of(content: bytes) -> set[int]:
    """Lines with content, and objects one after the other; empty if the file is no JSON Lines."""
    text = content.removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    if text.lstrip()[:1] != "{" or "\0" in text:
        return set()
    lines = [line for line in re.split(r"[\r\n]", text) if line.strip()]
    whole = objects_in(text)
    return {len(lines)} if whole is None else {len(lines), whole}


@pytest.mark.parametrize(
    "fixture", FIXTURES, ids=lambda given: f"{given.format}-{'-'.join(given.row)[:40]}"
)
def test_every_row_of_a_damaged_file_is_accounted_for(tmp_path: Path, fixture: Fixture) -> None:
    draw, path = seeded(fixture), tmp_path / "rows.jsonl"
    for number in range(MUTATIONS // 2):
        rows = changed_rows(fixture.rows(), draw)
        path.write_bytes(json_lines(rows))
        records = records_of(path, fixture.format, fixture.options)
        assert not isinstance(records, str), (number, records, rows)
        assert {record.line for record in records} == {1, 2, 3}, (number, rows)
    for number in range(MUTATIONS // 2):
        content = draw.choice(BYTES)(json_lines(fixture.rows()), draw)
        path.write_bytes(content)
        records = records_of(path, fixture.format, fixture.options)
        expected = rows_of(content)
        if not isinstance(records, str) and expected:
            rows_read = {record.entry or record.line for record in records}
            assert len(rows_read) in expected, (number, content)


ROWS = [
    {"prompt": "Name a colour.", "chosen": 'Red, "so"', "rejected": "No.\nNever."},
    {"prompt": "Name two.", "chosen": "Red; blue", "rejected": "\u00e9"},
    {"prompt": "Name none.", "chosen": "-", "rejected": "All."},
]


DELIMITERS = {"rows.csv": ",", "semicolon.csv": ";", "tab.tsv": "\t"}


def written(kind: str) -> bytes:
    """The rows as a file of a kind."""
    if kind == "array.json":
        return json.dumps(ROWS, indent=1).encode()
    if kind == "flat.json":
        return json.dumps(ROWS).encode()
    if kind == "rows.parquet":
        stream = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(ROWS), stream)
        return bytes(stream.getvalue())
    table = io.StringIO()
    writer = csv.DictWriter(table, list(ROWS[0]), delimiter=DELIMITERS[kind])
    writer.writeheader()
    writer.writerows(ROWS)
    return table.getvalue().encode()


@pytest.mark.parametrize(
    "kind", ["array.json", "flat.json", "rows.csv", "semicolon.csv", "tab.tsv", "rows.parquet"]
)
def test_damaged_file_of_any_kind_is_read_in_full_or_refused(tmp_path: Path, kind: str) -> None:
    draw, path, content = seeded(kind), tmp_path / kind, written(kind)
    for number in range(MUTATIONS):
        damaged = draw.choice(BYTES)(content, draw)
        path.write_bytes(damaged)
        try:
            records = list(files.objects(path))
        except ConcordError:
            continue
        if kind in DELIMITERS and not damaged.removeprefix(b"\xef\xbb\xbf").startswith(b"prompt"):
            continue  # the delimiter is read from the header
        expected = number_of_rows(kind, damaged)
        if expected is None:
            assert any(record.row is None for record in records), (number, damaged)
        else:
            assert len(records) == expected, (number, damaged)


def number_of_rows(kind: str, content: bytes) -> int | None:
    """The rows that other means find in a file; None if the file is broken."""
    if kind.endswith(".parquet"):
        return int(pq.read_metadata(pa.BufferReader(content)).num_rows)
    if kind.endswith(".json"):
        return elements_in(content.decode("utf-8-sig", errors="replace"))
    text = content.decode("utf-8-sig", errors="replace")
    text = re.sub(r"\r\n?", "\n", text)
    rows = list(csv.reader(io.StringIO(text), delimiter=DELIMITERS[kind]))
    return len([row for row in rows if any(cell.strip() for cell in row)]) - 1


def elements_in(text: str) -> int | None:
    """Elements of arrays one after the other, also without commas; None for anything else."""
    count, position, depth = 0, 0, 0
    while position < len(text):
        if text[position] == "[":
            depth += 1
        elif text[position] == "]":
            depth -= 1
        elif not (text[position].isspace() or text[position] == ","):
            try:
                _, position = json.JSONDecoder().raw_decode(text, position)
            except ValueError:
                return None
            count, position = count + 1, position - 1
        if depth < 0 or depth > 1:
            return None
        position += 1
    return count if depth == 0 else None


def test_damaged_csv_never_loses_a_row(tmp_path: Path) -> None:
    """Without quotes in it, a CSV file has as many rows as lines."""
    draw, path = seeded("csv"), tmp_path / "rows.csv"
    content = b"prompt,chosen,rejected\n" + b"".join(
        b"Q%d,good %d,bad %d\n" % (row, row, row) for row in range(6)
    )
    for number in range(MUTATIONS):
        damaged = draw.choice(BYTES)(content, draw)
        path.write_bytes(damaged)
        records = records_of(path, "trl", {"objective": "helpful"})
        lines = [line for line in LINE.findall(damaged) if line.strip()]
        if not isinstance(records, str) and b'"' not in damaged:
            assert len(records) == len(lines) - 1, (number, damaged)


@pytest.mark.parametrize("name", sorted(FILES))
def test_damaged_file_of_a_format_that_reads_its_own_files(tmp_path: Path, name: str) -> None:
    draw, path = seeded(name), tmp_path / "entries.json"
    for _ in range(MUTATIONS):
        entries = json.loads(json.dumps(FILES[name]))
        if draw.random() < 0.5:
            path.write_text(json.dumps(changed_rows(entries, draw)), encoding="utf-8")
        else:
            path.write_bytes(draw.choice(BYTES)(json.dumps(entries).encode(), draw))
        records_of(path, name, {})


@pytest.mark.parametrize("fixture", FIXTURES[::4], ids=lambda given: given.format)
def test_ingest_accounts_for_every_row_of_a_damaged_file(tmp_path: Path, fixture: Fixture) -> None:
    """The whole stage: found = kept + quarantined + left out."""
    draw, path = seeded("ingest", fixture), tmp_path / "rows.jsonl"
    for _ in range(2):
        path.write_bytes(json_lines(changed_rows(fixture.rows(), draw)))
        source = Source(fixture.format, str(path), options=fixture.options)
        try:
            report = run("damaged", source, IngestParams(1.0), tmp_path / "out")
        except ConcordError:
            continue
        rows = report["rows"]
        lost = sum(rows["quarantined"].values()) + sum(rows["left_out"].values())
        assert rows["found"] == rows["kept"] + lost == 3


def test_every_format_that_converts_rows_has_a_fixture() -> None:
    names = {*plugins.names("concord.annotations.formats", entries=["annotations"])}
    assert names - {fixture.format for fixture in FIXTURES} == {"table"}
