"""Says what a file of annotations is, and prints what to put into a recipe.

    python -m concord.annotations.inspection.inspect_file FILE FORMAT OPTIONS

FORMAT may be empty: it is then recognised by the keys of the first rows. OPTIONS is a JSON object
with options of the format, which replace those that are guessed. `concord inspect` is shorter.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from concord.annotations import files, reader
from concord.annotations.fields import shorten
from concord.annotations.filetypes.csv_tables import delimiter_of
from concord.annotations.inspection import inspection_page
from concord.annotations.inspection.names import judges
from concord.annotations.inspection.recognition import (
    Way,
    folder_format,
    nearest,
    proposals,
    tested,
    ways_to_read,
)
from concord.annotations.inspection.survey import Survey, first_rows, survey
from concord.annotations.inspection.unknown_table import Table, leaves, looks_like_data
from concord.annotations.quarantine import REASONS
from concord.stage.command import command
from concord.stage.errors import DataError, ParamsError
from concord.stage.params import read, suggest

SPEC_ENDINGS = (".yaml", ".yml")
SAID = 3
"""Number of values of a column that are shown."""
NOTHING = "nothing of {path} can be read"


def inspect(path: Path, format_name: str = "", options: dict[str, Any] | None = None) -> str:
    """The text about a file. Raises DataError or ParamsError if nothing of it can be read."""
    if format_name and format_name not in reader.format_names():
        hint = suggest(format_name, reader.format_names())
        raise ParamsError(f"--format {format_name}: there is no such format; {hint}")
    best = ways(path, format_name, options or {})
    path = single_file(path, best[0].format)
    result = survey(path, best[0])
    text = inspection_page.page(path, best, result)
    if result.kept == 0:
        raise DataError(f"{NOTHING.format(path=path)} as `{best[0].format}`:{reasons(result)}")
    return text


def ways(path: Path, format_name: str, options: dict[str, Any]) -> list[Way]:
    """The ways to read a file, the best one first. Raises DataError if there is none."""
    special = special_format(path)
    if special or (format_name and format_name not in reader.object_formats()):
        return [Way(format_name or special or "", options)]
    rows = first_rows(path)
    if format_name:
        return [chosen_format(format_name, rows, options)]
    best = ways_to_read(rows) if rows else []
    if not best:
        raise DataError(explained(path, rows))
    return [Way(**{**vars(best[0]), "options": {**best[0].options, **options}}), *best[1:]]


def single_file(path: Path, format_name: str) -> Path:
    """The only file of a folder, for a format that reads one file. Raises DataError."""
    if not path.is_dir() or format_name in reader.object_formats() or folder_format(path):
        return path
    inside = files.data_files(path)
    if len(inside) > 1:
        names = ", ".join(file.name for file in inside[:5])
        raise DataError(f"{path}: `{format_name}` reads one file; inspect one of {names}")
    return inside[0]


def special_format(path: Path) -> str | None:
    """The format of a YAML specification, or of a folder of related files."""
    if path.suffix.lower() in SPEC_ENDINGS and path.is_file():
        return reader.HUB if "dataset" in read(path) else "sandbox"
    return folder_format(path)


def chosen_format(name: str, rows: Sequence[dict[str, Any]], options: dict[str, Any]) -> Way:
    """The way to read rows in a format that was named, with likely options and columns."""
    tried = [tested(way, rows) for way in proposals(rows) if way.format == name]
    best = max(tried, key=lambda way: way.read, default=Way(name))
    return Way(**{**vars(best), "options": {**best.options, **options}})


def explained(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    """Why no format fits."""
    if not rows:
        first = next(files.objects(path), None)
        if first is None or first.rejection is None:
            return f"{NOTHING.format(path=path)}: it has no rows; a CSV file has a header first"
        said = f"line {first.line}: {first.rejection.detail}"
        if first.rejection.reason == "not_json" and delimited(first.raw):
            said += "; if it is CSV, give it the extension .csv"
        return f"{NOTHING.format(path=path)}: none of its first rows is an object; {said}"
    hint = ""
    names = list(dict.fromkeys(key for row in rows for key in row))
    if looks_like_data(names):
        hint = "The first line looks like values. If the file has no header, add one."
    if unclear := not_understood(rows):
        hint = unclear
    parent = folder_format(path.parent)
    if parent is not None:
        hint = f"Its folder is in the format `{parent}`: inspect {path.parent}."
    return inspection_page.unread(path, rows, nearest(rows), hint).rstrip("\n")


def delimited(line: str) -> bool:
    """Whether a line looks like the header of a CSV file."""
    return "{" not in line and line.count(delimiter_of(line)) > 0


def not_understood(rows: Sequence[dict[str, Any]]) -> str:
    """What the columns hold that judge answers, if there are any; else nothing."""
    table = Table(rows, leaves(rows))
    lines = []
    for column in filter(judges, table.columns):
        said = table.distinct(column)[:SAID] or [str(value) for value in table.values(column)[:1]]
        if said:
            lines.append(f"{column} holds {', '.join(map(shorten, said))}")
    if not lines:
        return ""
    return (
        f"Not understood: {'; '.join(lines)}. Say what they mean: options: {{values: {{KEY: "
        "{VALUE IN THE FILE: VALUE TO READ}}}"
    )


def reasons(result: Survey) -> str:
    """The reasons for which all rows are rejected, one a line."""
    lines = []
    for reason, count in result.quarantine.by_reason().items():
        first = result.quarantine.first(reason)
        where = f"first on line {first['source_line']}, {first['column']}: {first['detail']}"
        lines.append(f"\n  {count:>7}  {reason} ({REASONS[reason]}); {where}")
    return "".join(lines) or " it has no rows"


def main(path: str, format_name: str, options: str) -> None:
    """Prints the text about a file."""
    print(inspect(Path(path), format_name, json.loads(options)), end="")


if __name__ == "__main__":
    command(main)
