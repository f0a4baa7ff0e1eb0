"""Reads a source in any format: `concord/annotations/formats/<name>.py`, found by name.

What formats yield is described in `concord.annotations.record`; the keys of annotations in
`concord.annotations.interchange`. Most formats hold one object after the other: their module has `Options` and
`annotations(row, options)`; JSON, CSV, Parquet, gzip and folders are read for them (`concord.annotations.files`). The
others have `Options` and `read(path, given)`. The format `hub` streams the rows of a data set of the Hugging Face hub
through one of the formats of objects.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from concord.annotations import files, hub
from concord.annotations.record import GivenOptions, Record, RowError, each
from concord.stage import plugins
from concord.stage.params import section

Columns = Mapping[str, str]
"""Key that a format reads -> its name in the source."""
HUB = "hub"


def format_names() -> list[str]:
    """Every format that a source can have."""
    return sorted([HUB, *plugins.names("concord.annotations.formats")])


def renames_columns(name: str) -> bool:
    """Whether `columns` of a source in the format `name` can rename the keys that it reads."""
    return name == HUB or _of_objects(_module(name))


def options_of(name: str, path: Path) -> type:
    """The dataclass of a source's `options`; for the hub, that of the format which the file at `path` names."""
    module = _module(hub.read_spec(path, object_formats()).format if name == HUB else name)
    options: type = module.Options
    return options


def read(name: str, path: Path, given: GivenOptions, columns: Columns) -> Iterator[Record]:
    """The annotations of a source, and its rejected rows. Raises ParamsError, and DataError if it cannot be read."""
    if name == HUB:
        spec = hub.read_spec(path, object_formats())
        return annotated(_module(spec.format), hub.objects(spec), given, columns)
    module = _module(name)
    if _of_objects(module):
        return annotated(module, files.objects(path), given, columns)
    assert not columns
    records: Iterator[Record] = module.read(path, given)
    return records


def object_formats() -> list[str]:
    """The formats that hold one object after the other."""
    return [
        name for name in plugins.names("concord.annotations.formats") if _of_objects(_module(name))
    ]


def annotated(
    module: ModuleType, objects: Iterator[Record], given: GivenOptions, columns: Columns
) -> Iterator[Record]:
    """The annotations that a format makes of objects, whose keys are renamed first."""
    options = section(module.Options, dict(given), "options")

    def annotations(row: dict[str, Any]) -> Iterable[dict[str, Any] | RowError]:
        return module.annotations(renamed(row, columns), options)  # type: ignore[no-any-return]

    return each(objects, annotations)


def renamed(row: dict[str, Any], columns: Columns) -> dict[str, Any]:
    """The object with every renamed column under the key that the format reads."""
    return (
        {**row, **{ours: row.get(theirs) for ours, theirs in columns.items()}} if columns else row
    )


def _module(name: str) -> ModuleType:
    return plugins.load("concord.annotations.formats", name)


def _of_objects(module: ModuleType) -> bool:
    return hasattr(module, "annotations")
