"""A data set of the Hugging Face hub as the objects of another format; `path` is a small YAML file that names it.

    dataset: nvidia/HelpSteer2          # owner/name, or a local folder of JSON, CSV or Parquet files
    name: default                       # the configuration, if there are several
    split: train
    revision: 0123...def                # of a hub data set: the commit, 40 hexadecimal digits
    format: helpsteer                   # which of the formats of one object after the other

The source's options are those of that format. The rows are streamed, none is stored, no code of the data set is run.
`source_line` counts them from 1. Files that lie here need no such file: give their path with their own format.
"""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from pydantic.dataclasses import dataclass

from concord.annotations.record import Record, demand_file
from concord.stage.errors import DataError, ParamsError
from concord.stage.params import FORBID, read, section, suggest

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
REVISION = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, config=FORBID)
class Spec:
    """What the YAML file says."""

    dataset: str
    """Owner and name on the hub, or a local folder."""
    split: str
    """Which of its splits."""
    format: str
    """Format of its rows."""
    name: str | None = None
    """Its configuration; null where it has only one."""
    revision: str | None = None
    """Commit on the hub; null for a local folder."""


def read_spec(path: Path, formats: Collection[str]) -> Spec:
    """The file at `path`, whose format must be one of `formats`. Raises DataError or ParamsError."""
    demand_file(path)
    spec = section(Spec, read(path), str(path))
    if spec.format not in formats:
        raise ParamsError(
            f"{path}: format is {spec.format!r}; {suggest(spec.format, list(formats))}"
        )
    local = Path(spec.dataset).is_dir()
    if not local and not HUB_ID.fullmatch(spec.dataset):
        raise ParamsError(
            f"{path}: dataset is {spec.dataset!r}, no folder here; give a folder, or owner/name on the hub"
        )
    if local and spec.revision is not None:
        raise ParamsError(
            f"{path}: revision is {spec.revision!r}, but {spec.dataset} is a local folder; leave it out"
        )
    if not local and not REVISION.fullmatch(spec.revision or ""):
        raise ParamsError(
            f"{path}: revision is {spec.revision!r}, but what lies on the hub may change; "
            "give the commit that is meant, 40 hexadecimal digits"
        )
    return spec


def objects(spec: Spec) -> Iterator[Record]:
    """A Record for every row. Raises DataError where they cannot be had."""
    import datasets  # type: ignore[import-untyped]

    try:
        rows = datasets.load_dataset(
            spec.dataset, spec.name, split=spec.split, revision=spec.revision, streaming=True
        )
        for number, row in enumerate(rows, start=1):
            yield Record(number, json.dumps(row, ensure_ascii=False, default=str), dict(row))
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"data set {spec.dataset} ({spec.split}) cannot be read: {' '.join(str(error).split())}; correct dataset, "
            "name, split or revision, and see that the hub can be reached from here (HF_HUB_OFFLINE unset, "
            "`hf auth login` for one that is gated)"
        ) from None
