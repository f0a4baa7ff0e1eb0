"""Joins the chunks of a source: finds repeated rows, and writes its tables and its quarantine."""

from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.compute as pc

from concord.annotations import chunks, schemas
from concord.annotations.accounting import Outcomes
from concord.annotations.chunks import Chunk
from concord.annotations.quarantine import DUPLICATE, Location, Quarantine
from concord.annotations.record import Rejection
from concord.stage.outputs import TableWriter, arrow

REPEATED = Rejection(DUPLICATE, "row_id", "the same content stands earlier in this source")


class SourceTables:
    """Writes the records of one source to tables in a folder.

    A record is kept or quarantined as a whole. Duplicate prompts are not removed here, because that
    takes the prompts of all sources (`tasks.prepare`).
    """

    def __init__(self, source: str, folder: Path) -> None:
        """Opens the tables of `source` in `folder`."""
        self.source = source
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
        self._waiting: dict[str, list[pa.Table]] = {table: [] for table in schemas.SCHEMAS}
        self._waiting_records = 0

    def __enter__(self) -> SourceTables:
        gc.freeze()  # the collector would traverse all imported modules as well
        gc.disable()  # garbage is collected between chunks, when few rows are alive
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        gc.enable()
        gc.unfreeze()
        if kind is None:
            self._write()
            self._write_quarantine()
        for writer in self._writers.values():
            writer.close()

    def add(self, chunk: Chunk, file: str | None = None) -> None:
        """Adds the rows of a chunk that do not repeat earlier ones.

        `file` is the file of all its records; None if each record names its own.
        """
        files = chunk.records["file"].to_pylist() if file is None else [file] * len(chunk.records)
        repeated = self._repeated(chunk)
        rejected = self._rejections(chunk, repeated, files)
        self.changes.update(chunk.changes)
        for table, rows in chunk.rows.items():
            rows = rows.filter(self._is_new(table, rows, repeated)).combine_chunks()
            self.by_table[table] += rows.num_rows
            if rows.num_rows:
                self._waiting[table].append(self._with_origin(table, rows, files))
        self.read += len(files)
        self.kept += len(files) - rejected
        self._waiting_records += len(files)
        if self._waiting_records >= chunks.CHUNK:
            self._write()
        if self.quarantine.pending() >= chunks.CHUNK:
            self._write_quarantine()

    def _repeated(self, chunk: Chunk) -> set[int]:
        """The records of which all rows repeat earlier rows."""
        new: set[int] = set()
        numbers = chunk.ids["record"].to_pylist()
        for number, key in zip(numbers, chunk.ids["id"].to_pylist(), strict=True):
            if key not in self._seen:
                self._seen.add(key)
                new.add(number)
        return {*numbers} - new

    def _rejections(self, chunk: Chunk, repeated: set[int], files: list[str]) -> int:
        """Notes what becomes of the records, and returns the number of those that are rejected."""
        of = {name: chunk.records[name].to_pylist() for name in chunk.records.column_names}
        reasons: dict[int, str] = {}
        for number, reason in enumerate(of["reason"]):
            if number in repeated:
                rejection = REPEATED
            elif reason is not None:
                rejection = Rejection(reason, of["column"][number], of["detail"][number])
            else:
                continue
            reasons[number] = rejection.reason
            where = Location(self.source, files[number], of["line"][number])
            self.quarantine.add(where, of["table"][number], rejection, of["raw"][number])
        self.outcomes.note(zip(files, of["row"], strict=True), reasons)
        return len(reasons)

    def _is_new(self, table: str, rows: pa.Table, repeated: set[int]) -> pa.Array:
        """Which rows belong to no repeated record, and to no prompt that was added before."""
        is_new = pc.invert(pc.is_in(rows["record"], pa.array([*repeated], pa.int64())))
        if table != "prompts":
            return is_new
        hashes = rows["added"].to_pylist()
        first = [key is None or key not in self._prompt_hashes for key in hashes]
        self._prompt_hashes.update(key for key in hashes if key is not None)
        return pc.and_(is_new, pa.array(first, pa.bool_()))

    def _with_origin(self, table: str, rows: pa.Table, files: list[str]) -> pa.Table:
        """The rows with the columns of the table."""
        origin = {
            "source": pa.array([self.source] * rows.num_rows, pa.string()),
            "source_file": pa.array(files, pa.string()).take(rows["record"].combine_chunks()),
        }
        columns = {name: origin.get(name) for name in schemas.types(table)}
        return pa.table(
            {name: rows[name] if column is None else column for name, column in columns.items()}
        )

    def _write(self) -> None:
        """Writes the rows that wait as one part of each table."""
        for table, waiting in self._waiting.items():
            if waiting:
                self._writers[table].add(pa.concat_tables(waiting).combine_chunks())
                waiting.clear()
        self._waiting_records = 0

    def _write_quarantine(self) -> None:
        rows = self.quarantine.take()
        self._writers["quarantine"].add(arrow(rows, schemas.types("quarantine")))
