"""Atomic writes: outputs go to a temporary name next to the target, which is then renamed.

An interrupted stage never leaves a partial output under the final name. Files get the mode that the
umask gives; some libraries would make them readable for their owner only.
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
"""Columns with a fixed type, so that the type does not depend on the rows."""
ARROW = {"object": pa.string(), "int64": pa.int64(), "float64": pa.float64()}
"""pandas dtype -> Arrow type."""


DAMAGED = (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError)
"""What reading a damaged Parquet file raises, beside an OSError without a number."""


@contextmanager
def directory(path: str | Path) -> Iterator[Path]:
    """Yields an empty folder to write to.

    On success the folder replaces `path`. On an error it is removed and `path` stays as it was.
    """
    target = Path(path)
    partial = _partial(target)
    shutil.rmtree(partial, ignore_errors=True)  # left by a killed stage
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)  # the error of the block is more important
        raise
    obey_umask(*partial.rglob("*"))
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)


@contextmanager
def file(path: str | Path) -> Iterator[Path]:
    """Yields the path of a temporary file.

    It replaces `path` on success and is removed on an error.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(target)
    try:
        yield partial
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    obey_umask(partial)
    os.replace(partial, target)


def write_text(path: str | Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    with file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any) -> None:
    """Writes sorted, indented JSON. NumPy values become Python values; NaN and inf become null.

    The content is on the disk before the file has its name, so that a power cut cannot leave half
    of it. Reports are not in the cache, and the history of choices cannot be made again.
    """
    text = json.dumps(plain(content), sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    with file(path) as partial, partial.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def read_json(path: str | Path) -> Any:
    """Reads a JSON file. Raises DataError if it does not exist or is damaged."""
    if not Path(path).is_file():
        raise DataError(f"{path} does not exist; run the stage that writes it (`dvc repro`)")
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(path, error) from error


def write_table(path: str | Path, frame: pd.DataFrame) -> None:
    """Writes a frame as Parquet without its index. `None` and NaN are both stored as null."""
    columns = {str(name): _array(frame[name], TYPES.get(str(name))) for name in frame.columns}
    with file(path) as partial:
        pq.write_table(pa.table(columns), partial, compression="zstd")


def arrow(frame: pd.DataFrame, types: Mapping[str, str]) -> pa.Table:
    """The columns `types` of a frame as an Arrow table.

    `types` maps a column to its pandas dtype; "object" is text unless `TYPES` lists the column.
    """
    schema = _schema(types)
    columns = [_array(frame[name], schema.field(name).type) for name in schema.names]
    return pa.Table.from_arrays(columns, schema=schema)


class TableWriter:
    """Writes a Parquet table in chunks, so that it never has to fit in memory."""

    def __init__(self, path: str | Path, types: Mapping[str, str]) -> None:
        """Opens `path`. `types` are those of `arrow`."""
        # No dictionary encoding: most texts are unique, and zstd compresses those that repeat.
        self._writer = pq.ParquetWriter(
            path, _schema(types), compression="zstd", use_dictionary=False
        )

    def add(self, rows: pa.Table) -> None:
        """Appends rows with the columns of the table."""
        self._writer.write_table(rows)

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()


def read_table(path: str | Path) -> pd.DataFrame:
    """Reads a Parquet table. Raises DataError if it does not exist or is damaged.

    Missing text is `None`, missing numbers are NaN, and messages are lists of dicts.
    """
    if not Path(path).is_file():
        raise DataError(f"{path} does not exist; run the stage that writes it (`dvc repro`)")
    # Not pq.read_table, which would read `name=value` folders in the path as columns.
    try:
        table = pq.ParquetFile(path).read()
    except DAMAGED as error:
        raise _damaged(path, error) from error
    except OSError as error:
        if error.errno is not None:  # of the system: not permitted, a disk that fails
            raise
        raise _damaged(path, error) from error
    return pd.DataFrame({name: _series(table.column(name)) for name in table.column_names})


def _damaged(path: str | Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())
    return DataError(
        f"{path} is damaged ({reason}); delete it, and run the stage that writes it (`dvc repro`)"
    )


def _schema(types: Mapping[str, str]) -> pa.Schema:
    return pa.schema({name: TYPES.get(name, ARROW[kind]) for name, kind in types.items()})


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


def obey_umask(*paths: Path) -> None:
    """Sets the modes of files as if `open` had created them; folders are left as they are."""
    mask = os.umask(0)
    os.umask(mask)
    for path in paths:
        if path.is_file():
            path.chmod(0o666 & ~mask)


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name}.partial")


def plain(value: Any) -> Any:
    """The content as `write_json` writes it and `read_json` reads it."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy arrays and scalars
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
