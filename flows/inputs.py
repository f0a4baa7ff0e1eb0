"""What is new for a scheduled run: files in watched folders, imports, and the project's commit."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML

from concord.annotations.watched import RetrainParams
from concord.release.repository import Repository
from concord.release.store import dvc
from concord.stage.errors import ConcordError
from flows.graph import environment

Kind = Literal["file", "import", "project"]


class InputError(ConcordError):
    """A watched folder cannot be read, or a new file cannot be added."""


@dataclass(frozen=True)
class Input:
    """Something new, known by its content."""

    kind: Kind
    name: str
    """The source of a file, the pointer of an import, or `HEAD`."""
    digest: str
    """MD5 of a file, as DVC computes it; the hash of an import's output; or a commit."""
    path: str = ""
    """Where a file is."""

    @property
    def key(self) -> str:
        """What the input is remembered by."""
        return f"{self.kind} {self.name} {self.digest}"

    def __str__(self) -> str:
        what = {
            "file": f"{self.path} for the source {self.name}",
            "import": f"a new version of {self.name}",
            "project": "the project's commit",
        }[self.kind]
        return f"{what} ({self.digest[:12]})"


class Hashes:
    """MD5 of files, computed once for each size and time of modification."""

    def __init__(self, known: Mapping[str, Sequence[Any]]) -> None:
        self.known = {path: list(entry) for path, entry in known.items()}
        self.used: dict[str, list[Any]] = {}

    def of(self, file: Path) -> str:
        """The hash of a file."""
        status = file.stat()
        signature = [status.st_size, status.st_mtime_ns]
        entry = self.known.get(str(file))
        if entry is None or entry[:2] != signature:
            with file.open("rb") as stream:
                entry = [*signature, hashlib.file_digest(stream, "md5").hexdigest()]
        self.used[str(file)] = entry
        return str(entry[2])


def watched_files(root: Path, params: RetrainParams, hashes: Hashes) -> Iterator[Input]:
    """The files in the watched folders, apart from hidden ones and those that are still written.

    Raises InputError if a folder does not exist, or if a link in it leads out of it: what is read
    would not be what somebody put there.
    """
    now = time.time()
    for source, where in params.watch.items():
        folder = root / where
        if not folder.is_dir():
            raise InputError(
                f"retrain.watch.{source} is {where}, but {folder} is not a folder; create it, or "
                "correct the path"
            )
        for file in sorted(folder.rglob("*")):
            hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
            if hidden or not file.is_file():
                continue
            if not file.resolve().is_relative_to(folder.resolve()):
                raise InputError(
                    f"{file} is a link to {file.resolve()}, outside of the watched folder; copy "
                    "the file into the folder, or remove the link"
                )
            if now - file.stat().st_mtime >= params.settle_seconds:
                yield Input("file", source, hashes.of(file), str(file))


def updated_imports(workspace: Repository, commit: str) -> Iterator[Input]:
    """Updates what DVC imported, in the workspace; yields what differs from `commit`."""
    pointers = imports(workspace, commit)
    if not pointers:
        return
    dvc(workspace.folder, "update", "--quiet", *pointers)
    for pointer in pointers:
        before = YAML(typ="safe", pure=True).load(workspace.git("show", f"{commit}:{pointer}"))
        after = YAML(typ="safe", pure=True).load(workspace.folder / pointer)
        if after["outs"][0]["md5"] != before["outs"][0].get("md5"):
            yield Input("import", pointer, after["outs"][0]["md5"])


def imports(repository: Repository, commit: str) -> list[str]:
    """The pointers of a commit to data that DVC imported: they are frozen."""
    listed = ("ls-tree", "-r", "-z", "--name-only", commit)
    pointers = [name for name in repository.git(*listed).split("\0") if name.endswith(".dvc")]
    return [
        name
        for name in pointers
        if YAML(typ="safe", pure=True)
        .load(repository.git("show", f"{commit}:{name}"))
        .get("frozen")
    ]


def restore_imports(workspace: Repository, commit: str, pointers: Sequence[str]) -> None:
    """Takes the imports `pointers` back to their version in `commit`."""
    workspace.git("checkout", "--quiet", commit, "--", *pointers)
    dvc(workspace.folder, "checkout", "--quiet", "--force", *pointers)


def problems(workspace: Path, files: Sequence[Input]) -> dict[Input, str]:
    """What is wrong with new files, by the format of their source, as the workspace reads it."""
    wrong: dict[Input, str] = {}
    for source in dict.fromkeys(file.name for file in files):
        of_source = {file.path: file for file in files if file.name == source}
        done = subprocess.run(
            [sys.executable, "-m", "concord.annotations.new_files", source],
            cwd=workspace,
            env=environment(),
            input=json.dumps([*of_source]),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise InputError(
                f"the new files of {source} could not be validated: {done.stderr.strip()[-1000:]}"
            )
        for path, why in json.loads(done.stdout).items():
            if why is not None:
                wrong[of_source[path]] = why
    return wrong


def add_files(workspace: Path, files: Sequence[Input], paths: Mapping[str, str]) -> None:
    """Copies files into the folders of their sources, and lets DVC track them.

    A file is known by its content: one that the folder has already is not copied again. If the
    folder has another file of this name, part of the hash is added to the name.

    Args:
        workspace: the workspace.
        files: the files.
        paths: source -> its path.
    """
    for source in dict.fromkeys(file.name for file in files):
        folder = workspace / paths[source]
        for file in (file for file in files if file.name == source):
            _copy(Path(file.path), folder, file.digest, workspace / ".dvc/tmp/new")
        dvc(workspace, "add", "--quiet", paths[source])


def _copy(file: Path, folder: Path, digest: str, staging: Path) -> None:
    target = folder / file.name
    if target.exists() and _md5(target) != digest:
        target = folder / f"{digest[:12]}-{file.name}"
    if target.exists():
        return
    staging.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, staging)
    if _md5(staging) != digest:
        raise InputError(
            f"{file} changed while it was read; a file must not change after it has arrived. "
            "Increase retrain.settle_seconds if files are written in place"
        )
    os.replace(staging, target)


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()
