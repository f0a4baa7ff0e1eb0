"""Fuzzed rows through the stage `ingest`: each is kept, quarantined or left out, or the file is
refused in one sentence."""

import json
import random
import zlib
from pathlib import Path
from typing import Any

from concord.stage.errors import ConcordError
from tasks.ingest import IngestParams, Source, run
from tests.annotations.fixtures import FILES, FIXTURES, Fixture
from tests.annotations.mutations import changed_rows, json_lines

FORMATS = sorted({*FILES, *(fixture.format for fixture in FIXTURES)})
ROWS_PER_FILE = 250


def seeded(*parts: Any) -> random.Random:
    """A generator that depends on the parts only."""
    return random.Random(zlib.crc32(repr(parts).encode()))


def fuzzed_file(name: str, rows: int, draw: random.Random) -> tuple[bytes, dict[str, Any]]:
    """A file of a format in which every row is damaged, and the options to read it with."""
    if name in FILES:
        one = FILES[name][0]
        entries = [changed_rows([json.loads(json.dumps(one))], draw)[0] for _ in range(rows)]
        return json.dumps(entries).encode(), {}
    fixture: Fixture = draw.choice([one for one in FIXTURES if one.format == name])
    damaged = [row for _ in range(rows) for row in changed_rows(fixture.rows(1), draw)]
    return json_lines(damaged), fixture.options


def ingest(name: str, content: bytes, options: dict[str, Any], folder: Path) -> dict[str, int]:
    """Runs `ingest` on the content of a file.

    Returns {found, kept, quarantined, left_out} in rows, or {} if the file was refused. Any error
    but a ConcordError is raised.
    """
    path = folder / ("rows.json" if name in FILES else "rows.jsonl")
    path.write_bytes(content)
    source = Source(name, str(path), options=options)
    try:
        rows = run("fuzzed", source, IngestParams(1.0), folder / "out")["rows"]
    except ConcordError:
        return {}
    return {
        "found": rows["found"],
        "kept": rows["kept"],
        "quarantined": sum(rows["quarantined"].values()),
        "left_out": sum(rows["left_out"].values()),
    }


def account(name: str, rows: int, draw: random.Random, folder: Path) -> dict[str, int]:
    """Ingests one fuzzed file. Raises AssertionError if a row is unaccounted for."""
    content, options = fuzzed_file(name, rows, draw)
    counts = ingest(name, content, options, folder)
    if counts:
        lost = counts["quarantined"] + counts["left_out"]
        assert counts["found"] == counts["kept"] + lost == rows, (name, counts, rows)
    return counts
