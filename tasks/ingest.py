"""Reads one source of annotations, checks every row, and writes clean tables and the rows that were set aside.

sources.<name>.path -> data/ingested/<name>/{prompts,demonstrations,comparisons,ratings,steps,quarantine}.parquet
                       data/ingested/<name>/report.json    {read, kept, quarantined, by_reason, by_table}

python -m tasks.ingest <source>
"""

from collections.abc import Iterable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import Field
from pydantic.dataclasses import dataclass

from tasks.annotations import interchange, schemas
from tasks.annotations.formats import READERS
from tasks.annotations.quarantine import Quarantine, demand_share
from tasks.annotations.records import Record, RowError
from tasks.stage import outputs
from tasks.stage.errors import DataError, command
from tasks.stage.params import FORBID, load


@dataclass(frozen=True, config=FORBID)
class Source:
    """One source of annotations."""

    format: str
    """Name of a module in tasks/annotations/formats."""
    path: str
    """File or folder that the format reads."""
    columns: dict[str, str] = field(default_factory=dict)
    """Keys of the interchange format -> what the source calls them, where that differs."""
    options: dict[str, Any] = field(default_factory=dict)
    """What else the format lets one choose; see its module."""

    def __post_init__(self) -> None:
        if self.format not in READERS:
            raise ValueError(f"there is no format {self.format!r}; allowed: {', '.join(sorted(READERS))}")


@dataclass(frozen=True, config=FORBID)
class Params:
    """The section `ingest`."""

    max_quarantine_share: Annotated[float, Field(ge=0, le=1)]
    """Share of a source's rows that may be rejected before the stage fails."""


def run(name: str, source: Source, params: Params, out: Path) -> dict[str, Any]:
    """Ingests one source into the folder `out` and returns its report. Raises DataError where it cannot be used."""
    quarantine, read = Quarantine(), Records(name)
    for record in READERS[source.format](Path(source.path), source.options):
        read.take(record, source.columns)
    tables = read.finish(quarantine)
    if read.count == 0:
        raise DataError(f"source {name}: {source.path} holds no rows; give a file with annotations")
    demand_share(quarantine, read.count, params.max_quarantine_share, name)
    kept, rejected = len(read.kept), len(quarantine.rows)
    assert read.count == kept + rejected
    report = {
        "read": read.count,
        "kept": kept,
        "quarantined": rejected,
        "by_reason": quarantine.by_reason(),
        "by_table": {table: len(frame) for table, frame in tables.items()},
    }
    with outputs.directory(out) as folder:
        for table, frame in {**tables, "quarantine": quarantine.frame()}.items():
            outputs.write_table(folder / f"{table}.parquet", frame)
        outputs.write_json(folder / "report.json", report)
    return report


class Records:
    """The records of one source on their way into tables; a record is kept or set aside as a whole."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.count = 0
        self.kept: set[int] = set()
        self._records: list[tuple[Record, str]] = []
        self._rejected: dict[int, Any] = {}
        self._rows: dict[str, list[tuple[int, dict[str, Any]]]] = {table: [] for table in schemas.SCHEMAS}

    def take(self, record: Record, columns: Mapping[str, str]) -> None:
        """Turns one record into rows, or notes why it cannot be."""
        number, table = self.count, ""
        self.count += 1
        if record.row is None:
            self._rejected[number] = record.rejection
        else:
            row = {**record.row, **{ours: record.row.get(theirs) for ours, theirs in columns.items()}}
            table = interchange.table_of(row)
            try:
                self._add(number, table, record.line, interchange.rows(row))
            except RowError as error:
                self._rejected[number] = error.rejection
        self._records.append((record, table))

    def finish(self, quarantine: Quarantine) -> dict[str, pd.DataFrame]:
        """Checks the tables against their schemas; fills the quarantine; returns the rows that are left."""
        for table, rows in self._rows.items():
            for position, rejection in schemas.failures(table, self._frame(table, rows)).items():
                self._rejected.setdefault(rows[position][0], rejection)
        for number, rejection in sorted(self._rejected.items()):
            record, table = self._records[number]
            quarantine.add(self.source, record.line, table, rejection, record.raw)
        self.kept = set(range(self.count)) - set(self._rejected)
        return {
            table: self._frame(table, [row for row in rows if row[0] in self.kept])
            for table, rows in self._rows.items()
        }

    def _add(self, number: int, table: str, line: int, rows: Iterable[dict[str, Any]]) -> None:
        for row in rows:
            place = {"source": self.source, "source_line": line, "group_id": f"{self.source}/{row['group_id']}"}
            self._rows[table].append((number, {**row, **place}))

    @staticmethod
    def _frame(table: str, rows: list[tuple[int, dict[str, Any]]]) -> pd.DataFrame:
        return schemas.build(table, [row for _, row in rows])


def main(name: str) -> None:
    report = run(name, load(Source, "sources", name), load(Params, "ingest"), Path("data/ingested") / name)
    print(f"{name}: {report['read']} rows read, {report['kept']} kept, {report['quarantined']} set aside")


if __name__ == "__main__":
    command(main)
