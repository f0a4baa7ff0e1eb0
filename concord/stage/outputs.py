"""Writing what a stage makes: to a temporary name beside the target first, then renamed over it.

An interrupted stage so never leaves half an output under the right name.
"""

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from concord.stage.errors import DataError

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
TYPES = {
    "messages": MESSAGES,
    "steps": pa.list_(pa.string()),
    "labels": pa.list_(pa.float64()),
    "margin": pa.float64(),
    "reference": pa.string(),
}
"""Columns whose type must not depend on the rows that happen to be there."""
ARROW = {"object": pa.string(), "int64": pa.int64(), "float64": pa.float64()}
"""Pandas type -> what is stored."""


@contextmanager
def directory(path: str | Path) -> Iterator[Path]:
    """A fresh folder to write in; on success it replaces `path`, on an error it is removed and `path` is untouched."""
    target = Path(path)
    partial = _partial(target)
    shutil.rmtree(partial, ignore_errors=True)  # left by a stage that was killed
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial)
        raise
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)


@contextmanager
def file(path: str | Path) -> Iterator[Path]:
    """The name of a temporary file to write; on success it replaces `path`, on an error it is removed."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(target)
    try:
        yield partial
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    os.replace(partial, target)


def write_text(path: str | Path, text: str) -> None:
    """Writes UTF-8 text in one step."""
    with file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any) -> None:
    """Writes sorted, indented JSON; numpy values become plain ones, NaN and infinities become null."""
    write_text(
        path, json.dumps(_plain(content), sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    )


def read_json(path: str | Path) -> Any:
    """What `write_json` wrote. Raises DataError where the file is missing."""
    if not Path(path).is_file():
        raise DataError(f"{path} is not there; run the stage that makes it (`dvc repro`)")
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_table(path: str | Path, frame: pd.DataFrame) -> None:
    """Writes a frame as parquet, without its index; `None` and NaN are both stored as null."""
    columns = {str(name): _array(frame[name], TYPES.get(str(name))) for name in frame.columns}
    with file(path) as partial:
        pq.write_table(pa.table(columns), partial, compression="zstd")


class TableWriter:
    """A parquet table that is written part by part, so that it never need be in memory as a whole."""

    def __init__(self, path: str | Path, types: Mapping[str, str]) -> None:
        """`types`: column -> its pandas type ("object": text, or what `TYPES` says of the name)."""
        self._schema = pa.schema(
            {name: TYPES.get(name, ARROW[kind]) for name, kind in types.items()}
        )
        # Without dictionaries of values: most texts differ, and zstd finds those that do not.
        self._writer = pq.ParquetWriter(
            path, self._schema, compression="zstd", use_dictionary=False
        )

    def add(self, frame: pd.DataFrame) -> None:
        """Appends rows that have the columns of the table."""
        columns = [
            _array(frame[name], self._schema.field(name).type) for name in self._schema.names
        ]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()


def read_table(path: str | Path) -> pd.DataFrame:
    """A parquet table; missing text is `None`, missing numbers are NaN, messages are lists of dicts."""
    if not Path(path).is_file():
        raise DataError(f"{path} is not there; run the stage that makes it (`dvc repro`)")
    table = pq.ParquetFile(
        path
    ).read()  # not read_table, which would take `name=value` folders for columns
    return pd.DataFrame({name: _series(table.column(name)) for name in table.column_names})


def _array(column: pd.Series, kind: pa.DataType | None) -> pa.Array:
    if pd.api.types.is_numeric_dtype(column.dtype):
        return pa.array(column.to_numpy(), from_pandas=True)
    return pa.array(column.to_numpy(), type=kind, from_pandas=True)


def _series(column: pa.ChunkedArray) -> pd.Series:
    if (
        pa.types.is_integer(column.type)
        or pa.types.is_floating(column.type)
        or pa.types.is_boolean(column.type)
    ):
        return pd.Series(column.to_numpy())
    return pd.Series(column.to_pylist(), dtype=object)


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name}.partial")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy arrays and scalars
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
