"""What a file gives when it is read in one way: every row is counted, as `ingest` counts it."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from concord.annotations import files, interchange, reader
from concord.annotations.chunks import chunks
from concord.annotations.inspection.recognition import Way
from concord.annotations.quarantine import Quarantine
from concord.annotations.record import Record, RowError
from concord.annotations.source_tables import SourceTables
from concord.stage import progress

SAMPLE = 200
"""Number of rows from which the format is guessed."""
EXAMPLES = 3
PROMPT = "prompt"
NUMBER = re.compile(r"[-+]?[\d.,/\s]+%?")
LETTER = re.compile(r"\(?[A-Ea-e]\)?")


@dataclass(frozen=True)
class Labels:
    """The labels of one kind for one objective."""

    objective: str
    kind: str
    count: int
    annotators: int


@dataclass
class Survey:
    """What a file gives."""

    rows: dict[str, Any] = field(default_factory=dict)
    """What became of the rows: see `concord.annotations.accounting.Outcomes.summary`."""
    read: int = 0
    """Annotations in the rows, with those that are rejected."""
    kept: int = 0
    quarantine: Quarantine = field(default_factory=Quarantine)
    columns: list[str] = field(default_factory=list)
    """The columns of the first rows."""
    unused: list[str] = field(default_factory=list)
    """Those that the format does not read."""
    unread_files: list[str] = field(default_factory=list)
    labels: list[Labels] = field(default_factory=list)
    domains: dict[str, Counter[str]] = field(default_factory=dict)
    """`prompts` and `demonstrations` -> domain -> number of rows."""
    references: list[str] = field(default_factory=list)
    """Some of the references of prompts."""
    examples: list[dict[str, Any]] = field(default_factory=list)
    """The first annotations as table rows, each with its `kind`."""

    def objectives(self) -> list[str]:
        """The objectives, in the order of their first label."""
        return list(dict.fromkeys(item.objective for item in self.labels))

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


def survey(path: Path, way: Way) -> Survey:
    """Reads the whole source. Raises DataError or ParamsError."""
    result = Survey()
    reading = reader.read(way.format, path, way.options, way.columns)
    with tempfile.TemporaryDirectory() as folder:
        with SourceTables("inspected", Path(folder)) as tables:
            records = progress.count(reading, f"rows of {path.name}", quiet=True)
            for chunk in chunks(_with_examples(records, result.examples)):
                tables.add(chunk)
        count_labels(result, Path(folder))
    result.rows = tables.outcomes.summary(reading.rows_found())
    result.read, result.kept, result.quarantine = tables.read, tables.kept, tables.quarantine
    result.columns = [] if reading.columns is None else list(reading.columns.names)
    result.unused, result.unread_files = reading.unused_columns(), reading.unread_files
    return result


def _with_examples(records: Iterable[Record], examples: list[dict[str, Any]]) -> Iterator[Record]:
    for record in records:
        add_example(examples, record)
        yield record


def add_example(examples: list[dict[str, Any]], record: Record) -> None:
    """Keeps an annotation of each of the first rows as a table row: a label, if the row has one."""
    where = (record.file, record.entry or record.line)
    last = examples[-1] if examples and examples[-1]["where"] == where else None
    is_new = last is None and len(examples) < EXAMPLES
    if record.row is None or not (is_new or (last is not None and last["kind"] == PROMPT)):
        return
    try:
        rows = interchange.rows(record.row)
    except RowError:
        return
    found_at = {"where": where, "line": f"{record.file} line {record.line}".strip()}
    example = {**rows[0], "kind": record.row["kind"], **found_at}
    if example["kind"] == "ranking":
        example["ranked"] = [(row["response"], row["raw_rating"]) for row in rows]
    examples[len(examples) - (last is not None) :] = [example]


def count_labels(result: Survey, folder: Path) -> None:
    """Counts the kept rows of each table: labels by objective and kind, others by domain."""
    for table, people in (("comparisons", "annotator"), ("ratings", "annotator"), ("steps", "")):
        names = ["objective", *(["annotator"] if people else [])]
        names += ["kind"] if table == "ratings" else []
        frame = pd.read_parquet(folder / f"{table}.parquet", columns=names)
        if table != "ratings":
            frame["kind"] = table.removesuffix("s") if people else table
        result.labels += [
            Labels(str(objective), str(kind), len(rows), rows[people].nunique() if people else 0)
            for (objective, kind), rows in frame.groupby(["objective", "kind"], sort=False)
        ]
    for table in ("prompts", "demonstrations"):
        domains = pd.read_parquet(folder / f"{table}.parquet", columns=["domain"])["domain"]
        if len(domains):
            result.domains[table] = Counter(domains.tolist())
    references = pd.read_parquet(folder / "prompts.parquet", columns=["reference"])["reference"]
    result.references = references.dropna().head(SAMPLE).tolist()
