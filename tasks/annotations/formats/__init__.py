"""Source formats by name. To add one: a module here, and its line below.

What formats make is told in `tasks.annotations.records`; the annotations' keys in `tasks.annotations.interchange`. Most
formats hold one object after the other: their module has `Choice` (the options) and `annotations(row, choice)`; JSON,
CSV, Parquet, gzip and folders are read for them (`tasks.annotations.files`). The others have `read(path, options)`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from tasks.annotations import files
from tasks.annotations.formats import (
    bridge,
    concord,
    fine_grained_rlhf,
    gsm8k,
    helpsteer,
    hh_rlhf,
    hub,
    math_shepherd,
    mathdial,
    mr_gsm8k,
    mrbench,
    prm800k,
    prmbench,
    processbench,
    sandbox,
    table,
    trl,
    truthfulqa,
    ultrafeedback,
)
from tasks.annotations.records import NoOptions, Options, Record, RowError, each
from tasks.stage.params import section

Columns = Mapping[str, str]
"""Key that a format reads -> what the source calls it."""
Reader = Callable[[Path, Options, Columns], Iterator[Record]]


def of_objects(module: ModuleType) -> Reader:
    """The reader of a format that holds one object after the other."""

    def read(path: Path, options: Options, columns: Columns) -> Iterator[Record]:
        return told(module, files.objects(path), options, columns)

    return read


def of_files(module: ModuleType) -> Reader:
    """The reader of a format that knows its own files; `columns` does not apply to those."""

    def read(path: Path, options: Options, columns: Columns) -> Iterator[Record]:
        assert not columns
        return module.read(path, options)  # type: ignore[no-any-return]

    return read


def told(module: ModuleType, objects: Iterator[Record], options: Options, columns: Columns) -> Iterator[Record]:
    """The annotations that a format makes of objects whose keys are renamed first."""
    choice = section(module.Choice, dict(options), "options")

    def annotations(row: dict[str, Any]) -> Iterable[dict[str, Any] | RowError]:
        return module.annotations(renamed(row, columns), choice)  # type: ignore[no-any-return]

    return each(objects, annotations)


def renamed(row: dict[str, Any], columns: Columns) -> dict[str, Any]:
    """The object with what the source calls otherwise under the keys that the format reads."""
    return {**row, **{ours: row.get(theirs) for ours, theirs in columns.items()}} if columns else row


OBJECTS: dict[str, ModuleType] = {
    "concord": concord,
    "hh_rlhf": hh_rlhf,
    "bridge": bridge,
    "helpsteer": helpsteer,
    "mathdial": mathdial,
    "table": table,
    "trl": trl,
    "ultrafeedback": ultrafeedback,
    "fine_grained_rlhf": fine_grained_rlhf,
    "math_shepherd": math_shepherd,
    "mr_gsm8k": mr_gsm8k,
    "prm800k": prm800k,
    "prmbench": prmbench,
    "processbench": processbench,
}
"""Formats of one object after the other."""


def from_hub(path: Path, options: Options, columns: Columns) -> Iterator[Record]:
    """The rows of a data set of the hub, read by the format that the file at `path` names."""
    spec = hub.read_spec(path, OBJECTS)
    return told(OBJECTS[spec.format], hub.objects(spec), options, columns)


READERS: dict[str, Reader] = {
    **{name: of_objects(module) for name, module in OBJECTS.items()},
    "hub": from_hub,
    "sandbox": of_files(sandbox),
    "gsm8k": of_files(gsm8k),
    "mrbench": of_files(mrbench),
    "truthfulqa": of_files(truthfulqa),
}
RENAMED = (*OBJECTS, "hub")
"""Formats whose keys may be called otherwise (`columns` of a source)."""

OPTIONS: dict[str, type] = {
    **{name: module.Choice for name, module in OBJECTS.items()},
    "hub": dict,
    "sandbox": NoOptions,
    "gsm8k": gsm8k.Caps,
    "mrbench": mrbench.Choice,
    "truthfulqa": truthfulqa.Caps,
}
"""What `options` of a source may hold, by format."""


def choice_of(name: str, path: Path) -> type:
    """What `options` of a source may hold; of one on the hub its file says, which must be there."""
    return OBJECTS[hub.read_spec(path, OBJECTS).format].Choice if name == "hub" else OPTIONS[name]
