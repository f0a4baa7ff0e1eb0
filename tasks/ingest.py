"""Reads one source of annotations, checks every row, and writes clean tables and the rows that were set aside.

sources.<name>.path -> data/ingested/<name>/{prompts,demonstrations,comparisons,ratings,steps,quarantine}.parquet
                       data/ingested/<name>/report.json    {read, kept, quarantined, by_reason, by_table}

python -m tasks.ingest <source>
"""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations import reader
from concord.annotations.quarantine import demand_share
from concord.annotations.table_builder import Intake
from concord.stage import outputs, progress
from concord.stage.errors import DataError, command
from concord.stage.params import FORBID, load, suggest
from concord.stage.paths import INGESTED


@dataclass(frozen=True, config=FORBID)
class Source:
    """One source of annotations."""

    format: str
    """Name of a module in tasks/annotations/formats."""
    path: str
    """File or folder that the format reads."""
    columns: dict[str, str] = field(default_factory=dict)
    """Keys that the format reads -> what the source calls them, where that differs."""
    prompts: str | None = None
    """Domain of the prompts to sample on that every distinct prompt of the source becomes; null for none (a format may
    bring prompts of its own)."""
    options: dict[str, Any] = field(default_factory=dict)
    """What else the format lets one choose; see its module."""

    def __post_init__(self) -> None:
        known = reader.format_names()
        if self.format not in known:
            raise ValueError(f"there is no format {self.format!r}; {suggest(self.format, known)}")
        if self.columns and not reader.renames_columns(self.format):
            renaming = sorted(name for name in known if reader.renames_columns(name))
            raise ValueError(
                f"columns cannot rename what {self.format} reads, whose files have one shape; leave them out, or take "
                f"one of {', '.join(renaming)}"
            )


@dataclass(frozen=True, config=FORBID)
class IngestParams:
    """The section `ingest`."""

    max_quarantine_share: Annotated[float, Field(ge=0, le=1)]
    """Share of a source's rows that may be rejected before the stage fails."""


def run(name: str, source: Source, params: IngestParams, out: Path) -> dict[str, Any]:
    """Ingests one source into the folder `out` and returns its report. Raises DataError where it cannot be used."""
    records = reader.read(source.format, Path(source.path), source.options, source.columns)
    with outputs.directory(out) as folder:
        with Intake(name, folder, source.prompts) as intake:
            for record in progress.count(records, f"rows of {name}"):
                intake.take(record)
        if intake.read == 0:
            raise DataError(
                f"source {name}: {source.path} holds no rows; give a file with annotations"
            )
        demand_share(intake.quarantine, intake.read, params.max_quarantine_share, name)
        report = summary(intake)
        outputs.write_json(folder / "report.json", report)
    return report


def summary(intake: Intake) -> dict[str, Any]:
    """What was read, kept and set aside, by reason and by table."""
    by_reason = intake.quarantine.by_reason()
    rejected = sum(by_reason.values())
    assert intake.read == intake.kept + rejected
    return {
        "read": intake.read,
        "kept": intake.kept,
        "quarantined": rejected,
        "by_reason": by_reason,
        "by_table": intake.by_table,
    }


def main(name: str) -> None:
    report = run(
        name,
        load(Source, "sources", name),
        load(IngestParams, "ingest"),
        INGESTED / name,
    )
    print(
        f"{name}: {report['read']} rows read, {report['kept']} kept, {report['quarantined']} set aside"
    )


if __name__ == "__main__":
    command(main)
