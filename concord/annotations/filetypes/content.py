"""What a file is by its first bytes, and its content as a stream of bytes.

Every problem with a file is a DataError that says what the file is and what to do.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from concord.stage.errors import DataError

BUFFER = 2**16
"""Bytes that are read at once."""
HEAD = 4096
"""Bytes by which a file is recognised."""
BOM = b"\xef\xbb\xbf"
GZIP = b"\x1f\x8b"
STREAM = b"\xff\xff\xff\xff"
SIGNATURES: list[tuple[bytes, str, str]] = [
    (b"version https://git-lfs", "a Git LFS pointer", "fetch the data with `git lfs pull`"),
    (GZIP, "gzip", "add .gz to its name"),
    (b"PK\x03\x04", "zip", "unpack it; save an Excel sheet as CSV in UTF-8"),
    (b"\x28\xb5\x2f\xfd", "zstd", "decompress it with `zstd -d`"),
    (b"BZh", "bzip2", "decompress it with `bunzip2`"),
    (b"\xfd7zXZ", "xz", "decompress it with `unxz`"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (b"PAR1", "parquet", "give it the extension .parquet"),
    (b"PARE", "encrypted Parquet", "write it again without encryption"),
    (b"ARROW1", "Arrow", "give it the extension .arrow"),
    (STREAM, "an Arrow stream", "give it the extension .arrow"),
    (b"\xff\xfe\x00\x00", "UTF-32", "save it as UTF-8"),
    (b"\xff\xfe", "UTF-16", "save it as UTF-8, for example with `iconv -f UTF-16 -t UTF-8`"),
    (b"\xfe\xff", "UTF-16", "save it as UTF-8, for example with `iconv -f UTF-16 -t UTF-8`"),
    (b"SQLite format 3", "an SQLite database", "export its table as CSV"),
    (b"\x89HDF", "HDF5", "write it as Parquet"),
    (b"\x93NUMPY", "a NumPy array", "write it as Parquet"),
    (b"%PDF", "PDF", "give a file with rows"),
    (b"\xd0\xcf\x11\xe0", "an old or encrypted Office file", "save the sheet as CSV in UTF-8"),
    (b"-----BEGIN PGP", "encrypted with PGP", "decrypt it"),
    (b"age-encryption.org", "encrypted with age", "decrypt it"),
    (b"Salted__", "encrypted with OpenSSL", "decrypt it"),
    *((bytes([0x80, version]), "a pickle", "write it as Parquet") for version in range(2, 6)),
    (b"<!doctype html", "a web page", "download the file itself"),
    (b"<html", "a web page", "download the file itself"),
    (b"<?xml", "XML", "convert it to JSON Lines"),
]
"""First bytes in lower or upper case, what the file is, and what to do."""


def identify(head: bytes, text: bool = True) -> tuple[str, str] | None:
    """What a file is and what to do with it, or None if it is not known.

    With `text`, None means that it may be UTF-8 text.
    """
    start = head.removeprefix(BOM).lstrip()[:32].lower()
    for signature, kind, remedy in SIGNATURES:
        if head.startswith(signature) or start.startswith(signature.lower()):
            return kind, remedy
    if head[257:262] == b"ustar":
        return "a tar archive", "unpack it"
    if b"/annex/objects/" in head[:300] and b"{" not in head[:300]:
        return "a git-annex pointer", "fetch the data with `git annex get`"
    if text and b"\0" in head:
        return "binary, or UTF-16 without a byte order mark", "save it as UTF-8 text"
    return None


def kind_of(path: Path) -> tuple[str, str] | None:
    """What a file is, by its content, and what to do with it; None if it may be UTF-8 text."""
    with readable(path), path.open("rb") as stream:
        return identify(stream.read(HEAD))


def check_file(path: Path, text: bool = True) -> None:
    """Raises DataError unless `path` is a file that is not empty and, with `text`, looks like text.

    Only its beginning is read.
    """
    with readable(path):
        exists = path.exists()
    if not exists:
        remedy = "correct its path"
        if Path(f"{path}.dvc").exists():
            remedy = f"{path}.dvc exists, so run `dvc pull`"
        elif path.is_symlink():
            remedy = "it is a link to a file that is missing, so fetch that file"
        raise DataError(f"source {path} does not exist; {remedy}")
    if not path.is_file():
        raise DataError(f"source {path} is not a file; give the path of a file")
    with readable(path), path.open("rb") as stream:
        _require_text(path, stream.read(HEAD), text)


def _require_text(path: Path, head: bytes, text: bool = True) -> None:
    if not head.removeprefix(BOM).strip(b" \t\r\n"):
        raise DataError(f"source {path} is empty; give a file with annotations")
    kind = identify(head) if text else None
    if kind is not None:
        raise DataError(f"source {path} is {kind[0]}, not UTF-8 text; {kind[1]}")


def open_binary(path: Path) -> IO[bytes]:
    """Opens a text file, gzipped or not, as a binary stream.

    Raises DataError if the file is missing, empty or something else than text.
    """
    gzipped = path.suffix.lower() == ".gz"
    check_file(path, text=not gzipped)
    if not gzipped:
        return path.open("rb", buffering=BUFFER)
    with path.open("rb") as stream:
        is_gzip = stream.read(len(GZIP)) == GZIP
    if not is_gzip:
        kind = (kind_of(path) or ("plain text", ""))[0]
        raise DataError(f"source {path} is {kind}, not gzip; give it the extension of what it is")
    unzipped = io.BufferedReader(gzip.GzipFile(path, "rb"), BUFFER)
    with readable(path):
        _require_text(path, unzipped.peek(HEAD)[:HEAD])
    return unzipped


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raises DataError for errors of the system and of gzip while `path` is read."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"source {path} is truncated or not a gzip file: {error}; download it again"
        ) from None
    except PermissionError:
        raise DataError(
            f"source {path} must not be read by this user; change its permissions"
        ) from None
    except OSError as error:
        raise DataError(
            f"source {path} cannot be read: {error.strerror or error}; copy it again"
        ) from None


def decoded(path: Path) -> str:
    """The whole text of a file. Raises DataError if it is not UTF-8."""
    with readable(path), open_binary(path) as stream:
        content = stream.read().removeprefix(BOM)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        wrong = not_utf8(content[error.start])
        raise DataError(f"source {path} is not UTF-8 (line {line}): {wrong}") from None


def not_utf8(byte: int) -> str:
    """What is wrong with a byte that is not UTF-8, and what to do.

    Examples:
        >>> not_utf8(0xE9)
        'the byte 0xE9 is not UTF-8, in Windows-1252 it is \\xe9; save the file as UTF-8'
    """
    try:
        meant = f", in Windows-1252 it is {bytes([byte]).decode('cp1252')}"
    except UnicodeDecodeError:
        meant = ""
    return f"the byte 0x{byte:02X} is not UTF-8{meant}; save the file as UTF-8"
