"""Source formats by name. To add one: a module here, and its line below.

What formats make is told in `tasks.annotations.records`; the annotations' keys in `tasks.annotations.interchange`. Most
formats hold one object after the other: their module has `Choice` (the options) and `annotations(row, choice)`; JSON,
CSV, Parquet, gzip and folders are read for them (`tasks.annotations.files`). The others have `read(path, options)`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

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
from tasks.annotations.records import NoOptions, Options, Record, each
from tasks.stage.params import section

Reader = Callable[[Path, Options], Iterator[Record]]


def of_objects(module: ModuleType) -> Reader:
    """The reader of a format that holds one object after the other."""

    def read(path: Path, options: Options) -> Iterator[Record]:
        choice = section(module.Choice, dict(options), "options")
        return each(files.objects(path), lambda row: module.annotations(row, choice))

    return read


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


def from_hub(path: Path, options: Options) -> Iterator[Record]:
    """The rows of a data set of the hub, read by the format that the file at `path` names."""
    spec = hub.read_spec(path, OBJECTS)
    module = OBJECTS[spec.format]
    choice = section(module.Choice, dict(options), "options")
    return each(hub.objects(spec), lambda row: module.annotations(row, choice))


READERS: dict[str, Reader] = {
    **{name: of_objects(module) for name, module in OBJECTS.items()},
    "hub": from_hub,
    "sandbox": sandbox.read,
    "gsm8k": gsm8k.read,
    "mrbench": mrbench.read,
    "truthfulqa": truthfulqa.read,
}

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
