"""What the files of a source were parsed to, kept by content in a folder below `work/`.

A file of a source is parsed once: if files are added to the folder of the source, the others are
read from here, with the same result. The name of an entry is a hash of everything that decides it:
the content of the file and its extension, the format with its options, and the code. The first line
of an entry is the hash of the rest, which is compared before anything is used; a damaged entry is
parsed again. The rest is a sequence of lines of JSON; a line that names a table is followed by the
table as an Arrow stream.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from concord.annotations import chunks
from concord.annotations.chunks import Chunk
from concord.annotations.filetypes.folders import extension
from concord.stage import outputs

RECORDS, IDS = "records", "ids"
COMPRESSED = pa.ipc.IpcWriteOptions(compression="zstd")
Use = Callable[[Chunk], None]
Facts = dict[str, Any]
"""What is known about a file once it is parsed, as JSON."""


class ParsedFiles:
    """The entries of one source."""

    def __init__(self, folder: Path, *settings: Any) -> None:
        """`settings` are JSON: all that decides the result, apart from the files."""
        self._folder, self._used = folder, set[str]()
        self._settings = json.dumps([*settings, chunks.CHUNK], sort_keys=True)

    def parse(self, file: Path, use: Use, parse: Callable[[Use], Facts]) -> Facts:
        """Passes the chunks of `file` to `use`, and returns what is known about it.

        `parse` does the same for a file that was not parsed before.
        """
        entry = self._folder / f"{self._key(file)}.parsed"
        self._used.add(entry.name)
        if (facts := _restore(entry, use)) is not None:
            return facts
        with outputs.file(entry) as partial, partial.open("wb") as stream:
            writer = _Writer(stream)

            def keep(chunk: Chunk) -> None:
                writer.add(chunk)
                use(chunk)

            facts = parse(keep)
            writer.finish(facts)
        return facts

    def remove_unused(self) -> None:
        """Removes the entries of files that the source no longer has, or that have changed."""
        for entry in self._folder.glob("*.parsed"):
            if entry.name not in self._used:
                entry.unlink()

    def _key(self, file: Path) -> str:
        digest = hashlib.sha256(self._settings.encode())
        digest.update(f"{extension(file)} {file.suffix.lower()}\n".encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()[:32]


class _Writer:
    """Writes an entry."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._digest = stream, hashlib.sha256()
        stream.write(f"{self._digest.hexdigest()}\n".encode())

    def add(self, chunk: Chunk) -> None:
        for name, table in {RECORDS: chunk.records, IDS: chunk.ids, **chunk.rows}.items():
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.schema, options=COMPRESSED) as stream:
                stream.write_table(table)
            content = sink.getvalue().to_pybytes()
            self._put({"table": name, "bytes": len(content)}, content)
        self._put({"changes": chunk.changes})

    def finish(self, facts: Facts) -> None:
        """Completes the entry."""
        self._put({"facts": facts})
        self._stream.seek(0)
        self._stream.write(self._digest.hexdigest().encode())

    def _put(self, header: dict[str, Any], content: bytes = b"") -> None:
        for part in (json.dumps(header).encode() + b"\n", content):
            self._stream.write(part)
            self._digest.update(part)


def _restore(entry: Path, use: Use) -> Facts | None:
    """Passes the chunks of an entry to `use`; None if there is no entry, or it is damaged."""
    try:
        stream = entry.open("rb")
    except FileNotFoundError:
        return None
    with stream:
        expected = stream.readline()
        if hashlib.file_digest(stream, "sha256").hexdigest().encode() + b"\n" != expected:
            print(f"{entry} is damaged; the file that it was made from is parsed again")
            return None
        stream.seek(len(expected))
        tables: dict[str, pa.Table] = {}
        while "facts" not in (header := json.loads(stream.readline())):
            if "table" in header:
                tables[header["table"]] = _table(stream.read(header["bytes"]))
            else:
                use(Chunk(tables.pop(RECORDS), tables.pop(IDS), tables, header["changes"]))
                tables = {}
        return dict(header["facts"])


def _table(content: bytes) -> pa.Table:
    with pa.ipc.open_stream(content) as stream:
        return stream.read_all()
