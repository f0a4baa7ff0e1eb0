"""Reads one source of annotations, validates every row, and writes clean tables.

Invalid rows go to the quarantine table. If files were added to the folder of a source, the others
are not parsed again (`concord.annotations.parsed_files`).

    sources.<name>.path
    -> data/ingested/<name>/{prompts,demonstrations,comparisons,ratings,steps}.parquet,
       data/ingested/<name>/quarantine.parquet,
       data/ingested/<name>/report.json {rows, read, kept, quarantined, by_reason, by_table,
       removed, unused_columns, unread_files}

    python -m tasks.ingest <source>
"""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations import accounting, reader
from concord.annotations.parsed_files import ParsedFiles
from concord.annotations.quarantine import check_quarantine_share
from concord.annotations.source_files import Contents, Given, read_source
from concord.stage import outputs
from concord.stage.closure import digests
from concord.stage.command import command
from concord.stage.errors import DataError
from concord.stage.params import FORBID, load, suggest
from concord.stage.paths import INGESTED, WORK


@dataclass(frozen=True, config=FORBID)
class Source:
    """One source of annotations."""

    format: str
    """Name of a module in concord/annotations/formats."""
    path: str
    """File or folder with the annotations."""
    columns: dict[str, str] = field(default_factory=dict)
    """Key of the format -> column name in the source. Only for columns with another name."""
    prompts: str | None = None
    """Domain for the prompts of this source. Every distinct prompt is then also used for sampling.
    With null, only rows of kind `prompt` are used."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further options of the format; see its module."""
    licence: str | None = None
    """The licence of the data, for the model card; null if it is not known."""
    license: str | None = None
    """Another spelling of `licence`."""
    role: Literal["train", "test"] = "train"
    """`train`: the rows are split into train, validation and test. `test`: all rows are in the test
    split, and so are the rows of other sources with the same prompts."""

    def __post_init__(self) -> None:
        if self.licence is not None and self.license is not None:
            raise ValueError("`licence` and `license` are one key; give one of them")
        formats = reader.format_names()
        if self.format not in formats:
            raise ValueError(f"unknown format {self.format!r}; {suggest(self.format, formats)}")
        if self.columns and not reader.renames_columns(self.format):
            renaming = sorted(name for name in formats if reader.renames_columns(name))
            raise ValueError(
                f"`columns` cannot be used with the format {self.format}, whose column names are "
                f"fixed; remove `columns`, or use one of {', '.join(renaming)}"
            )


@dataclass(frozen=True, config=FORBID)
class IngestParams:
    """The section `ingest`."""

    max_quarantine_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """The stage fails if a larger share of the rows of a source is quarantined."""


def run(
    name: str,
    source: Source,
    params: IngestParams,
    out: Path,
    parsed: ParsedFiles | None = None,
) -> dict[str, Any]:
    """Ingests one source into the folder `out`; returns the report. Raises DataError.

    Files that are in `parsed` are not parsed again.
    """
    given = Given(source.format, Path(source.path), source.options, source.columns, source.prompts)
    reader.require_keys(*given[:4])
    with outputs.directory(out) as folder:
        contents = read_source(name, given, folder, parsed)
        tables = contents.tables
        if tables.read == 0:
            raise DataError(
                f"source {name}: {source.path} has no rows; give a file with annotations"
            )
        check_quarantine_share(tables.quarantine, tables.read, params.max_quarantine_share, name)
        report = summary(contents)
        outputs.write_json(folder / "report.json", report)
    return report


def parsed_files(name: str, source: Source) -> ParsedFiles:
    """The files of a source that were parsed before with the same settings and code."""
    named = {"concord.annotations.formats": [source.format]}
    settings = [source.format, source.options, source.columns, source.prompts]
    return ParsedFiles(WORK / "parsed" / name, settings, digests(__file__, named=named))


def summary(contents: Contents) -> dict[str, Any]:
    """What became of the rows and of the annotations made from them.

    `rows` counts rows: found = kept + quarantined + left out, the last two by reason. `read`,
    `kept`, `quarantined`, `by_reason` and `by_table` count annotations, of which a row may have
    several. `removed` counts the parts that were removed from annotations, such as empty system
    turns.
    """
    tables = contents.tables
    by_reason = tables.quarantine.by_reason()
    rejected = sum(by_reason.values())
    assert tables.read == tables.kept + rejected
    return {
        "rows": tables.outcomes.summary(contents.totals),
        "read": tables.read,
        "kept": tables.kept,
        "quarantined": rejected,
        "by_reason": by_reason,
        "by_table": tables.by_table,
        "removed": dict(tables.changes.most_common()),
        "unused_columns": contents.unused_columns,
        "unread_files": contents.unread_files,
    }


def main(name: str) -> None:
    """Runs the stage for one source."""
    source = load(Source, "sources", name)
    params = load(IngestParams, "ingest")
    report = run(name, source, params, INGESTED / name, parsed_files(name, source))
    print("\n".join(accounting.sentences(name, report)))


if __name__ == "__main__":
    command(main)
