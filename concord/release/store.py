"""DVC as the store of a release's data and checkpoints: what it names, and what is still there.

`dvc status --cloud` and `dvc push` believe that a folder is complete in the remote if its listing
is. So the files are looked at here: in the cache by their content, in a remote that is a folder by
their names.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from concord.release.repository import ReleaseError, Repository
from concord.release.rwlock import LOCK, remove_incomplete_lock

LOCAL_SETTINGS = Path(".dvc/config.local")
LISTING = ".dir"
"""End of the hash of a folder; its object lists the files of the folder as JSON."""


@dataclass(frozen=True)
class Content:
    """A file or a folder that a commit names by its hash."""

    path: str
    md5: str
    home: str
    """Folder of the cache or remote that has it: `files/md5`, or nothing for DVC 2."""

    def inside(self, store: Path, md5: str = "") -> Path:
        """Where a store has it, or another object of the same kind."""
        name = md5 or self.md5
        return store / self.home / name[:2] / name[2:]


def dvc(folder: Path, *arguments: str, shown: bool = False) -> str:
    """The output of a DVC command in `folder`. Raises ReleaseError if it fails.

    With `shown`, the output goes to the terminal instead.
    """
    remove_incomplete_lock(folder / LOCK)
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments],
        cwd=folder,
        env={**os.environ, "PATH": _path(), "COLUMNS": "10000"},  # DVC wraps its tables
        stdin=subprocess.DEVNULL,
        capture_output=not shown,
        text=True,
        check=False,
    )
    if done.returncode:
        problem = "its messages are above" if shown else _reason(done.stderr)
        raise ReleaseError(f"`dvc {arguments[0]}` failed in {folder}: {problem}.")
    return done.stdout or ""


def _path() -> str:
    """PATH with this Python first, since the commands of the stages start `python`."""
    folder = str(Path(sys.executable).parent)
    return os.pathsep.join([folder, os.environ.get("PATH", os.defpath)])


def _reason(stderr: str) -> str:
    """The errors that DVC printed, as one line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return "; ".join(errors or lines or ["no message"]).rstrip(".")


def contents(repository: Repository, commit: str) -> list[Content]:
    """What a commit names and git does not hold: outputs of stages, and sources."""
    files = set(repository.git("ls-tree", "-r", "-t", "-z", "--name-only", commit).split("\0"))
    lock = _yaml(repository, commit, "dvc.lock") if "dvc.lock" in files else {}
    outs = [out for stage in lock.get("stages", {}).values() for out in stage.get("outs", [])]
    for name in sorted(file for file in files if Path(file).suffix == ".dvc"):
        for out in _yaml(repository, commit, name).get("outs", []):
            outs.append({**out, "path": (Path(name).parent / out["path"]).as_posix()})
    return [
        Content(out["path"], out["md5"], "files/md5" if out.get("hash") == "md5" else "")
        for out in outs
        if out["path"] not in files and "md5" in out
    ]


def _yaml(repository: Repository, commit: str, path: str) -> Any:
    return YAML(typ="safe", pure=True).load(repository.git("show", f"{commit}:{path}"))


def cache(folder: Path) -> Path:
    """The folder of DVC's cache."""
    return Path(dvc(folder, "cache", "dir").strip())


def remotes(folder: Path) -> Iterator[tuple[str, str, bool]]:
    """Name and address of each remote, and whether it is the default."""
    for line in dvc(folder, "remote", "list").splitlines():
        name, _, url = line.partition(" ") if "\t" not in line else line.partition("\t")
        yield name, url.strip().removesuffix("(default)").strip(), line.endswith("(default)")


def remote_folder(folder: Path) -> Path | None:
    """The default remote, if it is a folder; None if it is elsewhere, or there is none."""
    for _, url, default in remotes(folder):
        if default:
            return Path(url) if Path(url).is_absolute() else None
    return None


def absent(store: Path, content: Content, by_content: bool) -> Iterator[str]:
    """Paths of the files of a content that a store lacks, or has damaged.

    Args:
        store: the folder of the cache or of a remote.
        content: a file or folder.
        by_content: whether the files are hashed; otherwise only their names are looked for.
    """
    top = content.inside(store)
    if not _intact(top, content.md5, by_content):
        yield content.path
    elif content.md5.endswith(LISTING):
        for entry in json.loads(top.read_text(encoding="utf-8")):
            if not _intact(content.inside(store, entry["md5"]), entry["md5"], by_content):
                yield f"{content.path}/{entry['relpath']}"


def _intact(file: Path, md5: str, by_content: bool) -> bool:
    if not file.is_file():
        return False
    if not by_content:
        return True
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest() == md5.removesuffix(LISTING)


def lost(repository: Repository, commit: str, wanted: list[Content]) -> list[str]:
    """Fetches what the cache lacks or has damaged; returns the paths that it still lacks."""
    store = cache(repository.folder)
    gaps = [content for content in wanted if any(absent(store, content, by_content=True))]
    if not gaps:
        return []
    for content in gaps:
        remove_damaged(store, content)
    folder = repository.folder / "runs" / f"fetch-{commit[:12]}"
    clone_at(repository, commit, folder)
    try:
        dvc(folder, "fetch", *(content.path for content in gaps))
    except ReleaseError:
        pass  # what is lost is counted below
    finally:
        shutil.rmtree(folder)
    return [path for content in gaps for path in absent(store, content, by_content=True)]


def remove_damaged(store: Path, content: Content) -> None:
    """Deletes what is not what its name says, because DVC trusts the names and fetches no other."""
    top = content.inside(store)
    names = [content.md5]
    if content.md5.endswith(LISTING) and _intact(top, content.md5, by_content=True):
        names += [entry["md5"] for entry in json.loads(top.read_text(encoding="utf-8"))]
    for name in names:
        file = content.inside(store, name)
        if file.is_file() and not _intact(file, name, by_content=True):
            file.unlink()


def clone_at(repository: Repository, commit: str, folder: Path) -> None:
    """A new clone of the project at a commit, on its cache and remotes. Replaces `folder`."""
    root = repository.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    repository.git("clone", "--quiet", "--shared", "--no-checkout", str(root), str(folder))
    Repository(folder).git("checkout", "--quiet", "--detach", commit)
    share_store(root, folder)


def share_store(root: Path, folder: Path) -> None:
    """Gives a clone the project's cache, its remotes and its local settings (credentials).

    Addresses that are relative to the project are written so that they hold in the clone.
    """
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(root / LOCAL_SETTINGS, encoding="utf-8")
    for name, url, _ in remotes(root):
        _set(settings, f"'remote \"{name}\"'", "url", url)
    _set(settings, "cache", "dir", str(cache(root)))
    target = folder / LOCAL_SETTINGS
    target.touch()
    if (root / LOCAL_SETTINGS).is_file():
        shutil.copymode(root / LOCAL_SETTINGS, target)
    with target.open("w", encoding="utf-8") as file:
        settings.write(file)


def _set(settings: configparser.ConfigParser, section: str, key: str, value: str) -> None:
    if not settings.has_section(section):
        settings.add_section(section)
    settings.set(section, key, value)
