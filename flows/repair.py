"""Removes what a power cut or a bad disk damaged, so that DVC fetches or makes it again.

    python -m flows.repair          # in the root of the project

DVC trusts a file in its cache by its name and mode, and hashes it only once. This module hashes the
files in the cache that dvc.lock and the .dvc files name. The flow does so before it runs, and again
for every stage that DVC restored from the cache.

An incomplete dvc.lock, which DVC writes in place, is replaced by the last complete one. Incomplete
entries of the run cache, with which DVC ends as `'outs'`, are removed.
"""

import contextlib
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from concord.stage.errors import ConcordError, ParamsError
from concord.stage.params import read
from flows.graph import ask, dvc, environment
from flows.stage import exclusive_run

LOCK = Path("dvc.lock")
KEPT = Path(".dvc/tmp/dvc.lock.complete")
"""A copy of the last complete dvc.lock."""
CHECKED = Path(".dvc/tmp/run-cache.checked")
"""An empty file. Entries of the run cache that are older were complete."""
SECONDS_TO_WRITE = 1.0
HASH_DIGITS = 64
"""Length of the name of an entry of the run cache, a SHA-256; others are unfinished."""
Log = Callable[[str], None]


class RepairError(ConcordError):
    """A damaged file cannot be removed."""


class Object(NamedTuple):
    """A file in the cache, and the file in the project that it holds the content of."""

    md5: str
    cached: Path
    path: Path


def repair(log: Log, stages: Collection[str] | None = None) -> list[str]:
    """Removes damaged files; returns their paths in the project.

    Args:
        log: called with a sentence for each repair.
        stages: only the outputs of these stages; None for everything that the project names.

    Raises:
        RepairError: a damaged file cannot be removed.
    """
    if stages is None:
        _restore_lock(log)
    cache = _cache(Path.cwd())
    if stages is None:
        _remove_incomplete_runs(cache.parents[1] / "runs", log)
    outs = [out for name, entry in _entries().items() for out in entry if _is_one(name, stages)]
    damaged = [one for out in outs for one in _damaged(out, cache)]
    for one in damaged:
        log(
            f"{one.path}: its file in the cache is damaged ({one.cached}); removed, so that it is "
            "fetched or made again"
        )
        _remove(one)
    if damaged:  # fails without a remote that has it: then the stage runs again
        paths = list(dict.fromkeys(out["path"] for out in outs))
        subprocess.run(
            dvc("fetch", "--quiet", *paths), env=environment(), capture_output=True, check=False
        )
    return [str(one.path) for one in damaged]


@functools.cache
def _cache(root: Path) -> Path:
    """The folder of the files in the cache of the project in `root`."""
    return root / ask("cache", "dir").strip() / "files/md5"


def _restore_lock(log: Log) -> None:
    """Keeps a copy of dvc.lock, or restores it from the copy if it is incomplete."""
    if not LOCK.is_file():
        return
    if _is_complete(LOCK):
        partial = KEPT.with_name(f"{KEPT.name}.partial")
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(LOCK, partial)
        os.replace(partial, KEPT)
        return
    time.sleep(SECONDS_TO_WRITE)
    if _is_complete(LOCK):  # another process was writing it
        return
    LOCK.unlink()
    if KEPT.is_file():
        shutil.copyfile(KEPT, LOCK)
    log("dvc.lock was incomplete and is restored; stages that it lacks come from the cache")


def _remove_incomplete_runs(runs: Path, log: Log) -> None:
    """Removes the entries of the run cache that do not have the hash that is their name.

    An entry says which outputs a stage made from which inputs; without it, the stage runs again.
    """
    from dvc.utils import dict_sha256  # type: ignore[import-untyped]

    since = CHECKED.stat().st_mtime if CHECKED.is_file() else 0.0
    began = time.time()
    for entry in sorted(runs.glob("??/*/*")):
        if len(entry.name) != HASH_DIGITS or entry.stat().st_mtime < since:
            continue
        try:
            content = read(entry)
            intact = dict_sha256(content, exclude=["size", "nfiles"]) == entry.name
        except (ParamsError, AttributeError, TypeError):
            intact = False
        if not intact:
            entry.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # it has other entries
                entry.parent.rmdir()  # in an empty folder, DVC ends with an error
            log(f"{entry}: this entry of the run cache is incomplete; removed, its stage runs")
    CHECKED.parent.mkdir(parents=True, exist_ok=True)
    CHECKED.touch()
    os.utime(CHECKED, (began, began))


def _is_complete(lock: Path) -> bool:
    """Whether DVC can read the file; it may still lack the last stages."""
    try:
        return all(_is_entry(entry) for entry in read(lock)["stages"].values())
    except (ParamsError, LookupError, AttributeError):
        return False


def _is_entry(entry: Any) -> bool:
    items = [*(entry.get("deps") or []), *(entry.get("outs") or [])]
    paths = [item.get("path") for item in items]
    return bool(entry.get("cmd")) and all(isinstance(path, str) for path in paths)


def _entries() -> dict[str, list[dict[str, Any]]]:
    """Stage or .dvc file -> its outputs with their paths from the root."""
    recorded = read(LOCK).get("stages", {}) if LOCK.is_file() else {}
    outs = {name: entry.get("outs", []) for name, entry in recorded.items()}
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.dvc"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for name in filter(None, done.stdout.split("\0")):
        if Path(name).is_file():
            folder = Path(name).parent
            outs[name] = [
                {**out, "path": str(folder / out["path"])} for out in read(name).get("outs", [])
            ]
    return outs


def _is_one(name: str, stages: Collection[str] | None) -> bool:
    return stages is None or name in stages


def _damaged(out: dict[str, Any], cache: Path) -> Iterator[Object]:
    """The damaged files of an output, among those that are in the cache."""
    md5, path = str(out.get("md5", "")), Path(out["path"])
    whole = Object(md5, cache / md5[:2] / md5[2:], path)
    if not md5 or not whole.cached.is_file():
        return
    if not _is_intact(whole):
        yield whole
    elif md5.endswith(".dir"):
        listed = json.loads(whole.cached.read_bytes())
        files = [
            Object(one["md5"], cache / one["md5"][:2] / one["md5"][2:], path / one["relpath"])
            for one in listed
        ]
        present = [one for one in files if one.cached.is_file()]
        with ThreadPoolExecutor() as pool:
            states = pool.map(_is_intact, present)
        yield from (one for one, intact in zip(present, states, strict=True) if not intact)


def _is_intact(one: Object) -> bool:
    return _md5(one.cached) == one.md5.removesuffix(".dir")


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()


def _remove(one: Object) -> None:
    """Removes the file from the cache, and from the project unless its content there is right."""
    try:
        one.cached.unlink(missing_ok=True)
        if one.path.is_file() and _md5(one.path) != one.md5:
            one.path.unlink()
    except OSError as error:
        raise RepairError(
            f"{one.cached} is damaged and cannot be removed ({error.strerror}); make the cache "
            "writable, or delete the file, and run again"
        ) from error


def main() -> int:
    """Repairs the project in the current folder; returns the exit status."""
    try:
        with exclusive_run(print):
            damaged = repair(print)
    except ConcordError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(damaged)} damaged files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
