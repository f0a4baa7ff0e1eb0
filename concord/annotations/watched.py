"""The section `retrain` of params.yaml: which folders a scheduled run watches for new files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from concord.annotations import reader
from concord.stage.params import FORBID, suggest


@dataclass(frozen=True, config=FORBID)
class RetrainParams:
    """What `concord retrain` looks for. No stage reads this section, which may be missing."""

    watch: dict[str, str] = field(default_factory=dict)
    """Source -> folder outside of the project in which new files of its annotations arrive. They
    are validated, and copied into the folder of the source, which DVC must track. A relative path
    starts at the root of the project. See docs/how-to/deploy.md."""
    settle_seconds: Annotated[float, Field(ge=0)] = 60.0
    """A file that was modified less than so many seconds ago may still be incomplete: it waits for
    the next run."""


def watch_problems(params: RetrainParams, sources: Mapping[str, Any], root: Path) -> Iterator[str]:
    """Sources to whose folder no files can be added. Paths of sources start at `root`."""
    for name in params.watch:
        where = f"retrain.watch.{name}"
        if name not in sources:
            yield f"{where}: unknown source; {suggest(name, list(sources))}"
            continue
        path, format_name = sources[name]["path"], sources[name]["format"]
        if format_name not in reader.object_formats():
            yield (
                f"{where}: the format {format_name} reads files of fixed names, so none can be "
                f"added; allowed formats: {', '.join(reader.object_formats())}"
            )
        elif not (root / path).is_dir():
            yield (
                f"{where}: sources.{name}.path is {path}, which is not a folder, so no files can "
                "be added; give a folder"
            )
        elif not (root / f"{path.rstrip('/')}.dvc").is_file():
            yield (
                f"{where}: DVC does not track {path} by itself, so files that are added could not "
                f"be published; run `dvc add {path}`, and commit {path.rstrip('/')}.dvc"
            )
