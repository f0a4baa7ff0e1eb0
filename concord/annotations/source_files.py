"""Reads a source into its tables, file by file where its format converts one object at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from concord.annotations import files, reader
from concord.annotations.chunks import Chunk, chunks
from concord.annotations.columns import Columns, Renamed
from concord.annotations.parsed_files import Facts, ParsedFiles, Use
from concord.annotations.record import GivenOptions
from concord.annotations.source_tables import SourceTables
from concord.stage import progress


class Given(NamedTuple):
    """What a source in params.yaml says about how to read it."""

    format: str
    path: Path
    options: GivenOptions
    columns: Columns
    prompts: str | None = None
    """Domain of the prompts that are added to annotations."""


class Contents(NamedTuple):
    """A source that was read."""

    tables: SourceTables
    """What was written, with its counts."""
    totals: Mapping[str, int] | None
    """File -> number of its rows, by a count of its own; None if there are no files."""
    unused_columns: list[str]
    unread_files: list[str]


def read_source(
    name: str, given: Given, folder: Path, parsed: ParsedFiles | None = None
) -> Contents:
    """Writes the tables of the source `name` to `folder`. Raises DataError or ParamsError.

    Files that were parsed before are taken from `parsed`, if the format permits it.
    """
    if given.format in reader.object_formats():
        return _read_files(name, given, folder, parsed)
    reading = reader.read(*given[:4])
    with SourceTables(name, folder) as tables:
        for chunk in chunks(progress.count(reading, f"rows of {name}"), given.prompts):
            tables.add(chunk)
    return Contents(tables, reading.rows_found(), reading.unused_columns(), reading.unread_files)


def _read_files(name: str, given: Given, folder: Path, parsed: ParsedFiles | None) -> Contents:
    columns, totals = Renamed(given.columns), dict[str, int]()
    data, unread = files.data_files(given.path), reader.unread_files(given.path)
    with SourceTables(name, folder) as tables:
        for file in progress.track(data, len(data), f"files of {name}"):
            inside = "" if file == given.path else file.relative_to(given.path).as_posix()
            facts = _read_file(given, file, inside, tables, parsed)
            columns.include(facts["columns"])
            totals[inside] = facts["rows"]
        columns.require()
    if parsed is not None:
        parsed.remove_unused()
    return Contents(tables, totals, columns.unused(), unread)


def _read_file(
    given: Given, file: Path, name: str, tables: SourceTables, parsed: ParsedFiles | None
) -> Facts:
    """Adds the records of one file to `tables`, under the name `name`."""

    def parse(use: Use) -> Facts:
        totals: dict[str, int] = {}
        reading = reader.read_one(given.format, file, given.options, given.columns, totals)
        label = f"rows of {file.name}"
        for chunk in chunks(progress.count(reading, label, quiet=True), given.prompts):
            use(chunk)
        assert reading.columns is not None
        return {"rows": totals[""], "columns": reading.columns.notes()}

    def use(chunk: Chunk) -> None:
        tables.add(chunk, name)

    return parse(use) if parsed is None else parsed.parse(file, use, parse)
