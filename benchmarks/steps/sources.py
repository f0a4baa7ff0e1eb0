"""Reads a source that is not in params.yaml, with the checks of `ingest`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from concord.annotations import schemas
from concord.stage.outputs import read_table
from tasks import ingest

MOST_BAD = 0.1
"""Largest share of a source's rows that may be rejected."""


def tables(
    name: str, source: str, path: str, options: Mapping[str, Any]
) -> dict[str, pd.DataFrame]:
    """The tables of the file `path` in the format `source`; prints counts under `name`."""
    settings = ingest.Source(source, path, options=dict(options))
    with tempfile.TemporaryDirectory() as folder:
        report = ingest.run(name, settings, ingest.IngestParams(MOST_BAD), Path(folder) / "out")
        read = {
            table: schemas.typed(table, read_table(Path(folder) / "out" / f"{table}.parquet"))
            for table in schemas.SCHEMAS
        }
    print(
        f"{name}: {report['read']} rows read, {report['kept']} kept, {report['by_reason']}",
        flush=True,
    )
    return read
