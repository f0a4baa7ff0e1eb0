"""Reads a source in any format.

A format is a module of `concord.annotations.formats` and is found by its name. There are two kinds:

- Most formats convert one object at a time. They define `Options` and `annotations(row, options)`.
  JSON, CSV, Parquet, gzip and folders are read for them by `concord.annotations.files`.
- The others read their own files. They define `Options` and `read(path, given)`.

`concord.annotations.record` describes what formats yield, `concord.annotations.interchange` the
keys of an annotation. The format `hub` streams the rows of a data set on the Hugging Face Hub
through one of the formats of the first kind.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from concord.annotations import files, hub
from concord.annotations.columns import Columns, Renamed
from concord.annotations.record import GivenOptions, Record, RowError, convert
from concord.stage import plugins
from concord.stage.params import section

HUB = "hub"


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


def read(name: str, path: Path, given: GivenOptions, columns: Columns) -> Iterator[Record]:
    """Yields the annotations and the rejected rows of a source.

    Raises ParamsError for invalid options, and DataError if the source cannot be read.
    """
    if name == HUB:
        spec = hub.read_spec(path, object_formats())
        return convert_objects(_module(spec.format), hub.objects(spec), given, columns)
    module = _module(name)
    if name in object_formats():
        return convert_objects(module, files.objects(path), given, columns)
    assert not columns
    records: Iterator[Record] = module.read(path, given)
    return records


def object_formats() -> list[str]:
    """The names of the formats that convert one object at a time."""
    return plugins.names("concord.annotations.formats", entries=["annotations"])


def convert_objects(
    module: ModuleType, objects: Iterator[Record], given: GivenOptions, columns: Columns
) -> Iterator[Record]:
    """Renames the keys of each object and converts it with the format `module`."""
    options = section(module.Options, dict(given), "options")
    renamed = Renamed(columns)

    def annotations(row: dict[str, Any]) -> Iterable[dict[str, Any] | RowError]:
        return module.annotations(renamed(row), options)  # type: ignore[no-any-return]

    return renamed.check(convert(objects, annotations))


def _module(name: str) -> ModuleType:
    return plugins.load("concord.annotations.formats", name, "sources")
