"""Parquet and Arrow files."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from concord.annotations.filetypes.content import (
    HEAD,
    STREAM,
    check_file,
    identify,
    not_utf8,
    readable,
)
from concord.annotations.record import Record, RowError
from concord.stage.errors import DataError

BATCH = 1024
"""Rows that are decoded at once."""


def parquet_file(path: Path, file: str = "") -> Iterator[Record]:
    """Yields the rows of a Parquet file. `Record.line` counts them from 1.

    A row with bytes that are not UTF-8 is rejected. A date that Python cannot hold becomes text.
    Raises DataError if the file is not readable, or has two columns with the same name.
    """
    import pyarrow.parquet as pq

    check_file(path, text=False)
    with _refused(path, "Parquet", (b"PAR1",)):
        stored = pq.ParquetFile(path)
        _check_names(path, stored.schema_arrow)
        yield from _records(stored.iter_batches(batch_size=BATCH), file)


def arrow_file(path: Path, file: str = "") -> Iterator[Record]:
    """Yields the rows of an Arrow file or stream, as `save_to_disk` of `datasets` writes it."""
    check_file(path, text=False)
    with _refused(path, "Arrow", (b"ARROW1", STREAM)), path.open("rb") as stream:
        batches = arrow_batches(stream)
        _check_names(path, batches.schema)
        yield from _records(_each(batches), file)


def arrow_batches(stream: Any) -> Any:
    """A reader of the record batches of an Arrow file or stream."""
    import pyarrow as pa

    is_file = stream.read(6) == b"ARROW1"
    stream.seek(0)
    return pa.ipc.open_file(stream) if is_file else pa.ipc.open_stream(stream)


def _each(batches: Any) -> Iterator[Any]:
    if hasattr(batches, "num_record_batches"):
        for number in range(batches.num_record_batches):
            yield batches.get_batch(number)
    else:
        yield from batches


@contextmanager
def _refused(path: Path, kind: str, signatures: tuple[bytes, ...]) -> Iterator[None]:
    """Raises DataError, which says what the file is, for errors of Arrow."""
    import pyarrow as pa

    with readable(path):
        with path.open("rb") as stream:
            head = stream.read(HEAD)
        other = None if head.startswith(signatures) else identify(head, text=False)
        if other is not None:
            raise DataError(f"source {path} is {other[0]}, not {kind}; {other[1]}")
        try:
            yield
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            shown = " ".join(str(error).split())[:200]
            raise DataError(
                f"source {path} is not a readable {kind} file: {shown}; copy or write it again"
            ) from None


def _check_names(path: Path, schema: Any) -> None:
    """Raises DataError for two columns, or two fields of a column, with the same name."""
    for name, count in Counter(schema.names).items():
        if count > 1:
            raise DataError(
                f"source {path} has {count} columns called {name!r}, so it is not clear which one "
                "counts; rename or remove one"
            )
    for field in schema:
        if (name := _repeated(field.type)) is not None:
            raise DataError(
                f"source {path}: the objects in column {field.name!r} have the key {name!r} "
                "twice, so it is not clear which one counts; rename or remove one"
            )


def _repeated(kind: Any) -> str | None:
    """A field that stands twice in a nested type, or None."""
    fields = [kind.field(number) for number in range(kind.num_fields)]
    names = [field.name for field in fields]
    for field in fields:
        if names.count(field.name) > 1:
            return str(field.name)
        if (name := _repeated(field.type)) is not None:
            return name
    return None


def _records(batches: Iterator[Any], file: str) -> Iterator[Record]:
    number = 0
    for batch in batches:
        for row in _rows(batch):
            number += 1
            if isinstance(row, RowError):
                yield Record(number, "", None, row.rejection, file)
            else:
                raw = json.dumps(row, ensure_ascii=False, default=str)
                yield Record(number, raw, row, None, file)


def _rows(batch: Any) -> list[Any]:
    """The rows of a batch as objects; a RowError for each that has bytes that are not UTF-8."""
    try:
        rows: list[Any] = batch.to_pylist()
    except (ValueError, OverflowError, ImportError):  # decoded value by value below
        return [_row(batch, number) for number in range(batch.num_rows)]
    return rows


def _row(batch: Any, number: int) -> dict[str, Any] | RowError:
    row = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = _value(column[number])
        except UnicodeDecodeError as error:
            return RowError("not_utf8", name, not_utf8(error.object[error.start]))
    return row


def _value(scalar: Any) -> Any:
    """A value as Python holds it, nested or not. Raises UnicodeDecodeError."""
    import pyarrow as pa

    if not scalar.is_valid:
        return None
    if isinstance(scalar, pa.StructScalar):
        return {name: _value(value) for name, value in scalar.items()}
    if isinstance(scalar, pa.ListScalar) and not isinstance(scalar, pa.MapScalar):
        return [_value(value) for value in scalar.values]
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        raise
    except (ValueError, OverflowError, ImportError):
        return f"{scalar.value} ({scalar.type})"  # a date that Python cannot hold
