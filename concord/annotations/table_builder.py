"""Builds the tables of a source from its records, in chunks, so that memory use stays constant."""

from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

from concord.annotations import interchange, schemas
from concord.annotations.accounting import Outcomes
from concord.annotations.quarantine import DUPLICATE, Location, Quarantine
from concord.annotations.record import Record, Rejection, RowError
from concord.stage.outputs import TableWriter

CHUNK = 20_000
"""Number of records that are checked and written at once."""
NO_RECORD = -1
"""Record number of prompts that `prompts` adds; they are kept even if their record is rejected."""
REPEATED = Rejection(DUPLICATE, "row_id", "the same content stands earlier in this source")


class TableBuilder:
    """Writes the records of one source to tables in `folder`.

    A record is kept or quarantined as a whole. Duplicate prompts are not removed here, because that
    takes the prompts of all sources (`tasks.prepare`).
    """

    def __init__(self, source: str, folder: Path, prompts: str | None) -> None:
        """With a domain `prompts`, each distinct list of messages also becomes a prompt in it."""
        self.source, self.prompts = source, prompts
        self.read = self.kept = 0
        self.by_table = dict.fromkeys(schemas.SCHEMAS, 0)
        self.quarantine = Quarantine()
        self.changes: Counter[str] = Counter()
        self.outcomes = Outcomes()
        tables = [*schemas.SCHEMAS, "quarantine"]
        self._writers = {
            name: TableWriter(folder / f"{name}.parquet", schemas.types(name)) for name in tables
        }
        self._seen: set[int] = set()
        self._prompt_hashes: set[int] = set()
        self._start_chunk()

    def __enter__(self) -> TableBuilder:
        gc.freeze()  # the collector would traverse all imported modules as well
        gc.disable()  # garbage is collected between chunks, when few rows are alive
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        gc.enable()
        gc.unfreeze()
        if kind is None:
            self._flush()
            self._writers["quarantine"].add(self.quarantine.take())
        for writer in self._writers.values():
            writer.close()

    def add(self, record: Record) -> None:
        """Converts one record to rows, or notes why it is rejected."""
        number, table = len(self._records), ""
        self.changes.update(record.changes)
        if record.row is None:
            assert record.rejection is not None
            self._rejected[number] = record.rejection
        else:
            table = interchange.table_of(record.row)
            try:
                self._add_rows(number, table, record, interchange.rows(record.row))
            except RowError as error:
                self._rejected[number] = error.rejection
        row = record.entry or record.line
        self._records.append((record.line, record.file, record.raw, table, row))
        if len(self._records) == CHUNK:
            self._flush()
            gc.collect(0)  # a full collection would traverse every hash seen so far

    def _start_chunk(self) -> None:
        self._records: list[tuple[int, str, str, str, int]] = []
        self._rejected: dict[int, Rejection] = {}
        self._columns: dict[str, dict[str, list[Any]]] = {
            table: {name: [] for name in schemas.types(table)} for table in schemas.SCHEMAS
        }
        self._numbers: dict[str, list[int]] = {table: [] for table in schemas.SCHEMAS}

    def _add_rows(
        self, number: int, table: str, record: Record, rows: list[dict[str, Any]]
    ) -> None:
        if table != "prompts" and self._repeated(rows):
            self._rejected[number] = REPEATED
            return
        for row in rows:
            row["group_id"] = f"{self.source}/{row['group_id']}"
            self._append(number, table, record, row)
        if self.prompts is not None and table != "prompts":
            self._add_prompt(record, rows[0], self.prompts)

    def _repeated(self, rows: list[dict[str, Any]]) -> bool:
        """Whether all of these rows repeat earlier ones."""
        before = len(self._seen)
        for row in rows:
            self._seen.add(int(row["row_id"], 16))
        return len(self._seen) == before

    def _append(self, number: int, table: str, record: Record, row: dict[str, Any]) -> None:
        columns = self._columns[table]
        columns["source"].append(self.source)
        columns["source_file"].append(record.file)
        columns["source_line"].append(record.line)
        for name, value in row.items():
            columns[name].append(value)
        self._numbers[table].append(number)

    def _add_prompt(self, record: Record, row: dict[str, Any], domain: str) -> None:
        """Adds the prompt of a row unless it was added before.

        The prompt is kept even if the answers of the row are rejected later.
        """
        key = int(interchange.quick_hash(row["messages"]), 16)
        if key not in self._prompt_hashes:
            self._prompt_hashes.add(key)
            (prompt,) = interchange.rows(
                {**row, "kind": "prompt", "domain": domain, "reference": None}
            )
            self._append(NO_RECORD, "prompts", record, {**prompt, "group_id": row["group_id"]})

    def _flush(self) -> None:
        """Checks the chunk, writes its valid rows and rejections, and starts the next chunk."""
        filled = [table for table, numbers in self._numbers.items() if numbers]
        frames = {table: schemas.typed(table, self._columns[table]) for table in filled}
        for table, frame in frames.items():
            for position, rejection in schemas.failures(table, frame).items():
                self._rejected.setdefault(self._numbers[table][position], rejection)
        for number, rejection in sorted(self._rejected.items()):
            line, file, raw, table, _ = self._records[number]
            self.quarantine.add(Location(self.source, file, line), table, rejection, raw)
        reasons = {number: rejection.reason for number, rejection in self._rejected.items()}
        self.outcomes.note(((file, row) for _, file, _, _, row in self._records), reasons)
        for table, frame in frames.items():
            valid = [number not in self._rejected for number in self._numbers[table]]
            self._writers[table].add(frame if all(valid) else frame[valid])
            self.by_table[table] += sum(valid)
        if self.quarantine.pending() >= CHUNK:
            self._writers["quarantine"].add(self.quarantine.take())
        self.read += len(self._records)
        self.kept += len(self._records) - len(self._rejected)
        self._start_chunk()
