"""Reads a source in any format.

A format is a module of `concord.annotations.formats` and is found by its name. There are two kinds:

- Most formats convert one object at a time. They define `Options` and `annotations(row, options)`.
  JSON, CSV, Parquet, gzip and folders are read for them by `concord.annotations.files`.
- The others read their own files. They define `Options`, `read(path, given)` and, if they read
  files, `files(path, given)`: `Record.file` -> path of each file that `read` reads.

`concord.annotations.record` describes what formats yield, `concord.annotations.interchange` the
keys of an annotation. The format `hub` streams the rows of a data set on the Hugging Face Hub
through one of the formats of the first kind.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from concord.annotations import files, hub, interchange
from concord.annotations.columns import Columns, Renamed, nearest, require_columns
from concord.annotations.record import GivenOptions, Record, RowError, convert
from concord.stage import plugins
from concord.stage.errors import DataError
from concord.stage.params import section

HUB = "hub"
SHOWN_FILES = 20
"""Number of files that are not read which the report names."""
FIRST_ROWS = 100
"""Rows by which a key that no row has is noticed."""


def format_names() -> list[str]:
    """The names of all formats, sorted."""
    return sorted([HUB, *plugins.names("concord.annotations.formats")])


def renames_columns(name: str) -> bool:
    """Whether `columns` may be given for a source in this format."""
    return name == HUB or name in object_formats()


def options_of(name: str, path: Path) -> type:
    """The dataclass of a format's options.

    For `hub`, these are the options of the format that the YAML file at `path` names.
    """
    module = _module(hub.read_spec(path, object_formats()).format if name == HUB else name)
    options: type = module.Options
    return options


class Reading:
    """The annotations and the rejected rows of a source, to be read once.

    What is known about the files and columns is complete after the last record.
    """

    def __init__(
        self,
        records: Iterator[Record],
        columns: Renamed | None = None,
        unread: Iterable[str] = (),
        totals: Callable[[], Mapping[str, int]] | None = None,
    ) -> None:
        self.records = records
        self.columns = columns
        self.unread_files = [*unread]
        """Files of the folder that are not read."""
        self._totals = totals

    def __iter__(self) -> Iterator[Record]:
        return self.records

    def __next__(self) -> Record:
        return next(self.records)

    def rows_found(self) -> Mapping[str, int] | None:
        """File -> number of its rows, by a count of its own; None if there are no files."""
        return None if self._totals is None else self._totals()

    def unused_columns(self) -> list[str]:
        """The columns that the format did not read, in the order of the file."""
        return [] if self.columns is None else self.columns.unused()


def read(name: str, path: Path, given: GivenOptions, columns: Columns) -> Reading:
    """The annotations and the rejected rows of a source.

    Raises ParamsError for invalid options, and DataError if the source cannot be read.
    """
    if name == HUB:
        spec = hub.read_spec(path, object_formats())
        return convert_objects(_module(spec.format), hub.objects(spec), given, columns)
    module = _module(name)
    if name in object_formats():
        totals: dict[str, int] = {}
        reading = convert_objects(module, files.objects(path, totals), given, columns)
        return Reading(reading.records, reading.columns, unread_files(path), lambda: totals)
    assert not columns
    records: Iterator[Record] = module.read(path, given)
    if not hasattr(module, "files"):
        return Reading(records)
    read_files: dict[str, Path] = module.files(path, given)

    def count() -> dict[str, int]:
        return {file: files.rows_in(where) for file, where in read_files.items()}

    return Reading(records, totals=count)


def unread_files(path: Path) -> list[str]:
    """The files of a folder that are not read, at most `SHOWN_FILES` of them by name."""
    names = [file.relative_to(path).as_posix() for file in files.listing(path).others]
    if len(names) > SHOWN_FILES:
        names[SHOWN_FILES:] = [f"and {len(names) - SHOWN_FILES} more"]
    return names


def read_one(
    name: str, file: Path, given: GivenOptions, columns: Columns, totals: dict[str, int]
) -> Reading:
    """Reads one data file of a source in a format that converts one object at a time.

    What `columns` names need not be in this file: call `Renamed.require` for the whole source.
    `totals[""]` receives the number of rows.
    """
    objects = files.counted(file, "", totals)
    return convert_objects(_module(name), objects, given, columns, whole=False)


def object_formats() -> list[str]:
    """The names of the formats that convert one object at a time."""
    return plugins.names("concord.annotations.formats", entries=["annotations"])


def convert_objects(
    module: ModuleType,
    objects: Iterator[Record],
    given: GivenOptions,
    columns: Columns,
    whole: bool = True,
) -> Reading:
    """Renames the keys of each object and converts it with the format `module`.

    If `objects` are the whole source, DataError is raised after the last one for a column that no
    object has.
    """
    options = section(module.Options, dict(given), "options")
    renamed = Renamed(columns)

    def annotations(row: dict[str, Any]) -> Iterable[dict[str, Any] | RowError]:
        return module.annotations(renamed(row), options)  # type: ignore[no-any-return]

    records = convert(objects, annotations)
    return Reading(renamed.check(records) if whole else renamed.watch(records), renamed)


def require_keys(name: str, path: Path, given: GivenOptions, columns: Columns) -> None:
    """Raises DataError for a column or a key that no row of a file has.

    Only as many rows are read as it takes to find each of them. To be called before `read`.
    """
    if name not in object_formats():
        return
    require_columns(columns, files.objects(path))
    module = _module(name)
    options = section(module.Options, dict(given), "options")
    renamed = Renamed(columns)
    first = (record.row for record in islice(files.objects(path), FIRST_ROWS))
    missing = {_missing_key(module, renamed(row), options) for row in first if row is not None}
    key = missing.pop() if len(missing) == 1 else None
    if key is None or any(
        record.row is not None and key in {**record.row, **columns}
        for record in files.objects(path)
    ):
        return
    raise DataError(
        f"source {path}: no row has the key {key!r}, which the format {name} needs; "
        f"{nearest(key, renamed.names)}; map it with `columns: {{{key}: COLUMN}}`, or correct "
        "`format`"
    )


def _missing_key(module: ModuleType, row: dict[str, Any], options: Any) -> str | None:
    """The key for whose absence a row is rejected, or None."""
    try:
        for annotation in module.annotations(row, options):
            if isinstance(annotation, RowError):
                raise annotation
            interchange.rows(annotation)
    except RowError as error:
        return error.rejection.column if error.rejection.reason == "missing_key" else None
    return None


def _module(name: str) -> ModuleType:
    return plugins.load("concord.annotations.formats", name, "sources")
