"""What is not a text file is refused in one sentence that says what it is."""

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from concord.annotations.files import listing, objects
from concord.stage.errors import DataError


def tar() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("rows.jsonl"))
    return content.getvalue()


def zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("xl/workbook.xml", "<x/>")
    return content.getvalue()


KINDS = {
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "gzip": gzip.compress(b'{"a": 1}\n'),
    "zip": zipped(),
    "a tar archive": tar(),
    "zstd": b"\x28\xb5\x2f\xfd\x04\x58",
    "bzip2": b"BZh91AY&SY",
    "xz": b"\xfd7zXZ\x00\x00",
    "parquet": b"PAR1\x15\x04",
    "an SQLite database": b"SQLite format 3\x00",
    "a pickle": b"\x80\x04\x95\x0b",
    "UTF-16": "a,b\n1,2\n".encode("utf-16"),
    "UTF-32": "a,b\n1,2\n".encode("utf-32"),
    "binary, or UTF-16 without": "a,b\n1,2\n".encode("utf-16-le"),
    "a web page": b"\n<!DOCTYPE html>\n<html></html>",
    "XML": b'<?xml version="1.0"?>',
    "encrypted with PGP": b"-----BEGIN PGP MESSAGE-----\n",
    "a git-annex pointer": b"../.git/annex/objects/aa/bb/SHA256E-s9--0.jsonl",
    "an old or encrypted Office file": b"\xd0\xcf\x11\xe0\xa1\xb1",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv", "x.jsonl.gz"])
def test_other_kinds_of_files_are_named(tmp_path: Path, name: str, kind: str) -> None:
    zipped_once = name.endswith(".gz")
    (tmp_path / name).write_bytes(gzip.compress(KINDS[kind]) if zipped_once else KINDS[kind])
    with pytest.raises(DataError, match=f"is {kind}.*; ") as error:
        list(objects(tmp_path / name))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "gzip"])
def test_file_that_is_called_gzip_says_what_it_is(tmp_path: Path, kind: str) -> None:
    (tmp_path / "x.csv.gz").write_bytes(KINDS[kind])
    with pytest.raises(DataError, match=f"is {kind}.*not gzip"):
        list(objects(tmp_path / "x.csv.gz"))


def test_other_extensions_say_what_the_file_is(tmp_path: Path) -> None:
    (tmp_path / "x.xlsx").write_bytes(KINDS["zip"])
    with pytest.raises(DataError, match=r"none of the extensions .*it is zip.*save an Excel sheet"):
        listing(tmp_path / "x.xlsx")


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)])
@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv", "x.tsv"])
def test_empty_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    name = name + ".gz" if content.startswith(b"\x1f") else name
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="is empty"):
        list(objects(tmp_path / name))


def test_folder_that_is_called_like_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "x.jsonl"
    folder.mkdir()
    with pytest.raises(DataError, match=r"contains no .*give the folder with the data"):
        list(objects(folder))
    (folder / "part.jsonl").write_text('{"a": 1}')
    (folder / "part.parquet").mkdir()
    assert [record.row for record in objects(folder)] == [{"a": 1}]


def test_missing_permission_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.jsonl").write_text('{"a": 1}')

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match="must not be read by this user; change its permissions"):
        list(objects(tmp_path / "x.jsonl"))


HIDDEN = [
    ".ipynb_checkpoints/rows-checkpoint.jsonl",
    "__MACOSX/rows.jsonl",
    "part/._rows.jsonl",
    ".cache/huggingface/download/rows.jsonl.metadata.json",
    ".gitattributes",
    "README.md",
    "dataset_infos.json",
    "part/dataset_info.json",
]


def test_hidden_files_and_metadata_are_not_read_but_listed(tmp_path: Path) -> None:
    for name in [*HIDDEN, "rows.jsonl", "part/rows.jsonl"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"a": 1}')
    inside = listing(tmp_path)
    assert [file.relative_to(tmp_path).as_posix() for file in inside.data] == [
        "part/rows.jsonl",
        "rows.jsonl",
    ]
    assert {file.relative_to(tmp_path).as_posix() for file in inside.others} == set(HIDDEN)


def test_links_are_followed_once_and_dead_ones_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "blob").write_text('{"a": 1}')
    (tmp_path / "data" / "rows.jsonl").symlink_to(tmp_path / "blob")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data")
    assert [record.row for record in objects(tmp_path / "data")] == [{"a": 1}]
    os.remove(tmp_path / "blob")
    with pytest.raises(DataError, match="does not exist; it is a link to a file that is missing"):
        list(objects(tmp_path / "data"))
