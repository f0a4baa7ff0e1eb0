"""Validates new files of a source, each by itself, before they are added to its folder.

    echo '["a.jsonl", "b.csv"]' | python -m concord.annotations.new_files preferences

Reads the files as `ingest` would, writes nothing, and prints a JSON object: file -> why it cannot
be added, or null. params.yaml has the format and options of the source, and the largest share of
its rows that may be quarantined, which here holds for each file.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from concord.annotations import files, reader
from concord.annotations.chunks import chunks
from concord.annotations.filetypes.folders import METADATA
from concord.annotations.quarantine import check_quarantine_share
from concord.annotations.source_tables import SourceTables
from concord.stage.command import command
from concord.stage.errors import DataError
from concord.stage.params import read

MAX_SHARE = 0.1
"""The default of `ingest.max_quarantine_share`."""


def problem(file: Path, name: str, source: Mapping[str, Any], max_share: float) -> str | None:
    """Why a file cannot be added to the folder of a source; None if it can.

    Args:
        file: the file.
        name: the name of the source.
        source: its entry in params.yaml.
        max_share: the largest share of the rows that may be bad.
    """
    if file.name in METADATA:
        return f"{file.name} is a name for metadata, which is not read; rename the file"
    options, columns = source.get("options", {}), source.get("columns", {})
    try:
        files.listing(file)
        with tempfile.TemporaryDirectory() as folder, SourceTables(name, Path(folder)) as tables:
            for chunk in chunks(reader.read_one(source["format"], file, options, columns, {})):
                tables.add(chunk)
        if tables.read == 0:
            return f"{file.name} has no rows"
        check_quarantine_share(tables.quarantine, tables.read, max_share, name)
    except DataError as error:
        return str(error)
    return None


def main(name: str) -> None:
    """Prints what is wrong with each of the files that standard input names."""
    params = read()
    share = params.get("ingest", {}).get("max_quarantine_share", MAX_SHARE)
    source = params["sources"][name]
    paths = json.load(sys.stdin)
    print(json.dumps({path: problem(Path(path), name, source, share) for path in paths}))


if __name__ == "__main__":
    command(main)
