"""What a file gives when it is read in one way: every row is counted, as `ingest` counts it."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from concord.annotations import files, interchange, reader
from concord.annotations.columns import Renamed, Watched
from concord.annotations.inspection.recognition import Reading, module_of
from concord.annotations.quarantine import NO_FAULT, Quarantine
from concord.annotations.record import Record, RowError, convert
from concord.annotations.schemas import SCHEMAS
from concord.annotations.table_builder import TableBuilder
from concord.stage import progress
from concord.stage.params import section

SAMPLE = 200
"""Number of rows from which the format is guessed."""
EXAMPLES = 3
NUMBER = re.compile(r"[-+]?[\d.,/\s]+%?")
LETTER = re.compile(r"\(?[A-Ea-e]\)?")


@dataclass
class Labels:
    """The labels of one kind for one objective."""

    objective: str
    kind: str
    count: int
    annotators: int


@dataclass
class Survey:
    """What a file gives."""

    rows: int = 0
    """Objects in the file: lines, elements or rows."""
    read: int = 0
    """Annotations that they hold, with those that are rejected."""
    kept: int = 0
    quarantine: Quarantine = field(default_factory=Quarantine)
    columns: list[str] = field(default_factory=list)
    """All columns, in the order of their first row."""
    used: set[str] = field(default_factory=set)
    """The columns that the format looks at."""
    labels: list[Labels] = field(default_factory=list)
    domains: dict[str, Counter[str]] = field(default_factory=dict)
    """`prompts` and `demonstrations` -> domain -> number of rows."""
    references: list[str] = field(default_factory=list)
    """Some of the references of prompts."""
    examples: list[dict[str, Any]] = field(default_factory=list)
    """The first annotations as table rows, each with its `kind`."""

    def bad(self) -> int:
        """The number of annotations that count as bad in `ingest`."""
        by_reason = self.quarantine.by_reason()
        return sum(count for reason, count in by_reason.items() if reason not in NO_FAULT)

    def verifier(self) -> str | None:
        """The verifier that suits the references, or None if there are none."""
        if not self.references:
            return None
        if all(LETTER.fullmatch(text.strip()) for text in self.references):
            return "multiple_choice"
        numeric = [text for text in self.references if NUMBER.fullmatch(text) or "\\" in text]
        return "math_answer" if 2 * len(numeric) >= len(self.references) else "exact_match"


def first_rows(path: Path) -> list[dict[str, Any]]:
    """The objects among the first records of a file or folder. Raises DataError."""
    records = islice(files.objects(path), SAMPLE)
    return [record.row for record in records if record.row is not None]


def survey(path: Path, reading: Reading) -> Survey:
    """Reads the whole source. Raises DataError or ParamsError."""
    result = Survey()
    with tempfile.TemporaryDirectory() as folder:
        with TableBuilder("inspected", Path(folder), None) as builder:
            records = records_of(path, reading, result)
            for record in progress.count(records, f"rows of {path.name}", quiet=True):
                add_example(result, record)
                builder.add(record)
        result.read, result.kept = builder.read, builder.kept
        result.quarantine = builder.quarantine
        count_labels(result, Path(folder))
    return result


def records_of(path: Path, reading: Reading, result: Survey) -> Iterator[Record]:
    """The records of a source. Counts its rows and notes its columns."""
    if reading.format not in reader.object_formats():
        lines = set()
        for record in reader.read(reading.format, path, reading.options, reading.columns):
            lines.add((record.file, record.line))
            yield record
        result.rows = len(lines)
        return
    module = module_of(reading.format)
    options = section(module.Options, dict(reading.options), "options")
    renamed = Renamed(reading.columns)
    columns: dict[str, None] = {}

    def counted(records: Iterator[Record]) -> Iterator[Record]:
        for record in records:
            result.rows += 1
            columns.update(dict.fromkeys(record.row or ()))
            yield record

    def annotations(row: dict[str, Any]) -> Any:
        return module.annotations(Watched(renamed(row), result.used), options)

    yield from convert(counted(files.objects(path)), annotations)
    result.columns = list(columns)
    for key, column in reading.columns.items():
        if key in result.used:
            result.used.discard(key)
            result.used.add(column.partition(".")[0].removesuffix("[]"))


def add_example(result: Survey, record: Record) -> None:
    """Keeps one of the first annotations, converted, with different rows before others."""
    if record.row is None or len(result.examples) >= EXAMPLES:
        return
    where = (record.file, record.line)
    if any(example["where"] == where for example in result.examples):
        return
    try:
        rows = interchange.rows(record.row)
    except RowError:
        return
    merged = {**rows[0], "kind": record.row["kind"], "where": where}
    if merged["kind"] == "ranking":
        merged["ranked"] = [(row["response"], row["raw_rating"]) for row in rows]
    result.examples.append(merged)


def count_labels(result: Survey, folder: Path) -> None:
    """Counts the kept rows of each table by objective and kind, or by domain."""
    for table in SCHEMAS:
        path = folder / f"{table}.parquet"
        if table in ("prompts", "demonstrations"):
            extra = ["reference"] if table == "prompts" else []
            frame = pd.read_parquet(path, columns=["domain", *extra])
            if len(frame):
                result.domains[table] = Counter(frame["domain"].tolist())
            if extra:
                result.references = frame["reference"].dropna().head(SAMPLE).tolist()
            continue
        names = ["objective", *{"ratings": ["kind", "annotator"]}.get(table, [])]
        names += {"comparisons": ["annotator"], "steps": ["label_kind"]}.get(table, [])
        frame = pd.read_parquet(path, columns=names)
        kind = table if table != "ratings" else "kind"
        frame = frame.assign(**{"kind": kind_name(table)}) if kind != "kind" else frame
        people = "annotator" if "annotator" in frame else "label_kind"
        for (objective, name), rows in frame.groupby(["objective", "kind"], sort=False):
            result.labels.append(
                Labels(str(objective), str(name), len(rows), int(rows[people].nunique()))
            )


def kind_name(table: str) -> str:
    """The kind of the labels of a table."""
    return {"comparisons": "comparison", "steps": "steps"}[table]


def objectives_of(labels: Sequence[Labels]) -> list[str]:
    """The objectives, in the order of their first label."""
    return list(dict.fromkeys(item.objective for item in labels))
