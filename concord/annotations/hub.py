"""A data set on the Hugging Face Hub, read by one of the other formats.

`path` is a small YAML file that names the data set:

    dataset: nvidia/HelpSteer2   # owner/name, or a local folder of JSON, CSV or Parquet files
    name: default                # the configuration, if the data set has several
    split: train
    revision: 0123...def         # the commit, 40 hexadecimal digits; only for data sets on the Hub
    format: helpsteer            # the format of its rows

The rows are streamed: nothing is stored, and no code of the data set is executed. `source_line` is
the number of the row, from 1. To read local files, no YAML file is needed: give their path and
their format.

Makes: the annotations of the format that the YAML file names.

Options: those of the format that the YAML file names.
"""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from pydantic.dataclasses import dataclass

from concord.annotations.filetypes.content import check_file
from concord.annotations.record import Record
from concord.stage.errors import DataError, ParamsError, UnreachableError
from concord.stage.params import FORBID, read, section, suggest

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
REVISION = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, config=FORBID)
class Spec:
    """The content of the YAML file."""

    dataset: str
    """Owner and name on the Hub, or a local folder."""
    split: str
    """The split to read."""
    format: str
    """The format of the rows."""
    name: str | None = None
    """The configuration; null if the data set has only one."""
    revision: str | None = None
    """The commit on the Hub; null for a local folder."""


def read_spec(path: Path, formats: Collection[str]) -> Spec:
    """Reads the YAML file. Its format must be one of `formats`. Raises DataError or ParamsError."""
    check_file(path)
    spec = section(Spec, read(path), str(path))
    if spec.format not in formats:
        raise ParamsError(
            f"{path}: format is {spec.format!r}; {suggest(spec.format, list(formats))}"
        )
    local = Path(spec.dataset).is_dir()
    if not local and not HUB_ID.fullmatch(spec.dataset):
        raise ParamsError(
            f"{path}: dataset is {spec.dataset!r}, which is not a local folder; "
            "give a folder, or owner/name on the Hub"
        )
    if local and spec.revision is not None:
        raise ParamsError(
            f"{path}: revision is {spec.revision!r}, but {spec.dataset} is a local folder; "
            "remove revision"
        )
    if not local and not REVISION.fullmatch(spec.revision or ""):
        raise ParamsError(
            f"{path}: revision is {spec.revision!r}, but data sets on the Hub can change; "
            "give a commit, 40 hexadecimal digits"
        )
    return spec


def objects(spec: Spec) -> Iterator[Record]:
    """Yields a Record for every row.

    Raises DataError if the data set cannot be read, and UnreachableError if the Hub cannot.
    """
    import datasets  # type: ignore[import-untyped]
    import httpx
    from huggingface_hub.errors import OfflineModeIsEnabled

    unreachable = httpx.TransportError, ConnectionError, TimeoutError

    try:
        rows = datasets.load_dataset(
            spec.dataset, spec.name, split=spec.split, revision=spec.revision, streaming=True
        )
        for number, row in enumerate(rows, start=1):
            yield Record(number, json.dumps(row, ensure_ascii=False, default=str), dict(row))
    except (
        *unreachable,
        OSError,
        ValueError,
        OverflowError,
        datasets.exceptions.DatasetsError,
    ) as error:
        offline = isinstance(error, OfflineModeIsEnabled) or "OfflineMode" in str(error)
        if isinstance(error, unreachable) and not offline:
            raise UnreachableError(
                f"the Hub cannot be reached for the data set {spec.dataset}: {error}; "
                "check the network"
            ) from None
        raise DataError(
            f"data set {spec.dataset} ({spec.split}) cannot be read: "
            f"{' '.join(str(error).split())}; correct dataset, name, split or revision. "
            "Also check that the Hub can be reached: HF_HUB_OFFLINE must not be set, "
            "and gated data sets need `hf auth login`"
        ) from None
