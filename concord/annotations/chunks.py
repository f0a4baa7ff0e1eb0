"""Turns the records of a file into chunks of valid table rows, so that memory use stays constant.

A chunk depends on its records alone: not on the name of the source or the file, nor on other files.
`concord.annotations.source_tables` joins the chunks of a source, and finds the rows that repeat
earlier ones.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from concord.annotations import interchange, schemas
from concord.annotations.quarantine import RAW_CHARACTERS, encodable
from concord.annotations.record import Record, Rejection, RowError
from concord.stage.outputs import arrow

CHUNK = 20_000
"""Number of records that are checked and written at once."""
ORIGIN = ("source", "source_file")
"""Columns of the tables that a chunk does not know."""
RECORDS = pa.schema(
    {
        "line": pa.int64(),
        "row": pa.int64(),
        "file": pa.string(),
        "raw": pa.string(),
        "table": pa.string(),
        "reason": pa.string(),
        "column": pa.string(),
        "detail": pa.string(),
    }
)
"""One row per record: where it is, and why it is rejected; `reason` is null if it is not."""
IDS = pa.schema({"record": pa.int64(), "id": pa.uint64()})
"""The hashes of the rows of each record, also of those that are rejected, but not of prompts."""


class Chunk(NamedTuple):
    """Up to `CHUNK` records. `record` is the position of a record in the chunk."""

    records: pa.Table
    """See `RECORDS`."""
    ids: pa.Table
    """See `IDS`."""
    rows: dict[str, pa.Table]
    """Table -> its valid rows, with `record`. Empty tables are left out. The table `prompts` has a
    column `added`: the hash of the messages of a prompt that was added to a record because the
    source has a domain, which is kept even if the record is rejected; else null."""
    changes: dict[str, int]
    """What was removed from annotations -> how often."""


def chunks(records: Iterable[Record], prompts: str | None = None) -> Iterator[Chunk]:
    """The chunks of a file, or of a source that is read as a whole.

    With a domain `prompts`, each distinct list of messages also becomes a prompt in it.
    """
    builder = _Builder(prompts)
    for record in records:
        builder.add(record)
        if len(builder.records) == CHUNK:
            yield builder.take()
            gc.collect(0)  # a full collection would traverse every hash seen so far
    if builder.records:
        yield builder.take()


class _Builder:
    """Collects the records of a chunk."""

    def __init__(self, prompts: str | None) -> None:
        self.prompts = prompts
        self._prompt_hashes: set[int] = set()
        self._start()

    def _start(self) -> None:
        self.records: list[tuple[int, int, str, str, str]] = []
        self._changes: Counter[str] = Counter()
        self._rejected: dict[int, Rejection] = {}
        self._ids: list[tuple[int, int]] = []
        self._columns: dict[str, dict[str, list[Any]]] = {
            table: {name: [] for name in schemas.types(table) if name not in ORIGIN}
            for table in schemas.SCHEMAS
        }
        self._numbers: dict[str, list[int]] = {table: [] for table in schemas.SCHEMAS}
        self._added: list[int | None] = []

    def add(self, record: Record) -> None:
        """Converts one record to rows, or notes why it is rejected."""
        number, table = len(self.records), ""
        self._changes.update(record.changes)
        if record.row is None:
            assert record.rejection is not None
            self._rejected[number] = record.rejection
        else:
            table = interchange.table_of(record.row)
            try:
                self._add_rows(table, record.line, interchange.rows(record.row))
            except RowError as error:
                self._rejected[number] = error.rejection
        row = record.entry or record.line
        self.records.append((record.line, row, record.file, record.raw[:RAW_CHARACTERS], table))

    def _add_rows(self, table: str, line: int, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            self._append(table, line, row)
        if table == "prompts":
            self._added += [None] * len(rows)
            return
        number = len(self.records)
        self._ids += [(number, int(row["row_id"], 16)) for row in rows]
        if self.prompts is not None:
            self._add_prompt(line, rows[0], self.prompts)

    def _append(self, table: str, line: int, row: dict[str, Any]) -> None:
        columns = self._columns[table]
        columns["source_line"].append(line)
        for name, value in row.items():
            columns[name].append(value)
        self._numbers[table].append(len(self.records))

    def _add_prompt(self, line: int, row: dict[str, Any], domain: str) -> None:
        """Adds the prompt of a row unless the file has it already."""
        key = int(interchange.quick_hash(row["messages"]), 16)
        if key not in self._prompt_hashes:
            self._prompt_hashes.add(key)
            (prompt,) = interchange.rows(
                {**row, "kind": "prompt", "domain": domain, "reference": None}
            )
            self._append("prompts", line, {**prompt, "group_id": row["group_id"]})
            self._added.append(key)

    def take(self) -> Chunk:
        """Checks the rows, and starts the next chunk."""
        tables = {name: self._typed(name) for name, rows in self._numbers.items() if rows}
        for table, frame in tables.items():
            for position, rejection in schemas.failures(table, frame).items():
                self._rejected.setdefault(self._numbers[table][position], rejection)
        valid = {table: self._valid(table, frame) for table, frame in tables.items()}
        numbers, hashes = zip(*self._ids, strict=True) if self._ids else ((), ())
        chunk = Chunk(
            self._records_table(),
            pa.table({"record": [*numbers], "id": [*hashes]}, schema=IDS),
            {table: rows for table, rows in valid.items() if rows.num_rows},
            dict(self._changes),
        )
        self._start()
        return chunk

    def _typed(self, table: str) -> pd.DataFrame:
        """The rows of a table as a frame; the columns that the chunk does not know are empty."""
        columns = self._columns[table]
        unknown = dict.fromkeys(ORIGIN, [""] * len(self._numbers[table]))
        return schemas.typed(table, {**columns, **unknown})

    def _valid(self, table: str, frame: pd.DataFrame) -> pa.Table:
        """The rows of a table whose record is not rejected, and the prompts that were added."""
        numbers = np.array(self._numbers[table], dtype=np.int64)
        valid = ~np.isin(numbers, [*self._rejected])
        extra = {}
        if table == "prompts":
            valid |= [key is not None for key in self._added]
            extra["added"] = [key for key, keep in zip(self._added, valid, strict=True) if keep]
        rows = arrow(frame if valid.all() else frame[valid], schemas.types(table))
        rows = rows.drop_columns([*ORIGIN]).append_column("record", pa.array(numbers[valid]))
        for name, column in extra.items():
            rows = rows.append_column(name, pa.array(column, pa.uint64()))
        return rows

    def _records_table(self) -> pa.Table:
        lines, rows, files, raws, tables = zip(*self.records, strict=True)
        reasons = [self._rejected.get(number) for number in range(len(self.records))]
        columns: dict[str, list[Any]] = {
            "line": [*lines],
            "row": [*rows],
            "file": [*files],
            "raw": [encodable(raw) for raw in raws],
            "table": [*tables],
            "reason": [reason and reason.reason for reason in reasons],
            "column": [reason and encodable(reason.column) for reason in reasons],
            "detail": [reason and encodable(reason.detail) for reason in reasons],
        }
        return pa.table(columns, schema=RECORDS)
