"""Rebuilds a version from its sources in a clone, and compares hashes.

The clone `runs/reproduce-<version>` has the commit of the version. Two things are as they were when
its run started: the folder of the champion, which the gate compared with, and the history of
choices. Nothing is restored: every stage that the checkpoint needs runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from concord.release.environment import ENVIRONMENT, environment
from concord.release.former import require_project
from concord.release.lineage import chosen
from concord.release.release_tree import champion_folder
from concord.release.repository import Repository, Version
from concord.release.store import absent, clone_at, contents, dvc, lost, remote_folder
from concord.stage.params import read
from concord.stage.paths import ALIGNED, REPORTS

TARGET = "export"
"""The stage that writes the checkpoint. What it needs is built; other policies are not."""
WITH_RUN_TIMES = tuple(
    (REPORTS / name).as_posix() for name in ("timing", "rewards", "process_reward.json")
)
"""Outputs that contain run times, which differ from run to run."""


@dataclass(frozen=True)
class Rebuilt:
    """The result of a rebuild."""

    version: Version
    folder: Path
    """The clone."""
    same: tuple[str, ...]
    """Outputs with the hash of the version."""
    different: Mapping[str, str]
    """Output -> its stage."""
    timed: tuple[str, ...]
    """Outputs that contain run times, and were not compared."""
    packages: tuple[str, ...]
    """What was different in the environment of the version, in words."""


@dataclass(frozen=True)
class Kept:
    """What is left of a version."""

    version: Version
    named: int
    """Files and folders that its commit names and git does not hold."""
    lost: tuple[str, ...]
    """Paths that neither the cache nor the remote has."""
    unsaved: tuple[str, ...] | None
    """Paths that the remote lacks; None if it is not a folder, and was not looked at."""


def reproduce(root: Path, name: str) -> Rebuilt:
    """Rebuilds a version. Raises ReleaseError if git, DVC or a stage fails."""
    repository = Repository(root)
    require_project(repository)
    version = chosen(repository, name)
    folder = root / "runs" / f"reproduce-{version.name}"
    clone_at(repository, version.commit, folder)
    _as_before_the_run(Repository(folder), version.commit)
    before = _outs(folder)
    (folder / "dvc.lock").unlink()
    if sources := Repository(folder).git("ls-files", "--", "*.dvc").splitlines():
        dvc(folder, "pull", "--quiet", *sources)
    dvc(folder, "repro", "--force", "--no-run-cache", TARGET, shown=True)
    return compare(version, folder, before, _outs(folder))


def compare(
    version: Version,
    folder: Path,
    before: Mapping[str, tuple[str, str]],
    after: Mapping[str, tuple[str, str]],
) -> Rebuilt:
    """Compares outputs (path -> stage, hash) of a version with those of a rebuild."""
    compared = [path for path in after if path not in WITH_RUN_TIMES and not _is_timing(path)]
    same = [path for path in compared if before.get(path, ("", ""))[1] == after[path][1]]
    return Rebuilt(
        version,
        folder,
        tuple(same),
        {path: after[path][0] for path in compared if path not in same},
        tuple(path for path in after if path not in compared),
        tuple(_environment_changes(folder)),
    )


def _is_timing(path: str) -> bool:
    return path.startswith(f"{WITH_RUN_TIMES[0]}/")


def _as_before_the_run(clone: Repository, commit: str) -> None:
    """Restores the champion of the time and the history of choices from the parent commit."""
    for path in (champion_folder(clone, commit), REPORTS / "select.json"):
        clone.git("rm", "-r", "--quiet", "--ignore-unmatch", "--", str(path))
        if clone.git("ls-tree", f"{commit}^", "--", str(path)):
            clone.git("checkout", "--quiet", f"{commit}^", "--", str(path))


def _outs(folder: Path) -> dict[str, tuple[str, str]]:
    """Output -> its stage and its hash, from dvc.lock."""
    stages = read(folder / "dvc.lock")["stages"]
    return {
        out["path"]: (name, out["md5"])
        for name, stage in stages.items()
        for out in stage.get("outs", [])
    }


def _environment_changes(folder: Path) -> Iterator[str]:
    if not (folder / ENVIRONMENT).is_file():
        return
    before = json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))
    yield from differences(before, environment())


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Which parts and packages of two environments differ, in words."""
    for key in ("python", "system", "machine"):
        if before[key] != now[key]:
            yield f"{key} {before[key]}, now {now[key]}"
    names = sorted({*before["packages"], *now["packages"]})
    for name in names:
        old, new = (side["packages"].get(name, "absent") for side in (before, now))
        if old != new:
            yield f"{name} {old}, now {new}"


def check(root: Path, name: str) -> Kept:
    """Looks whether what a version names is still there; fetches what the cache lacks.

    The cache is read and hashed; what is damaged is deleted from it and fetched again.
    """
    repository = Repository(root)
    require_project(repository)
    version = chosen(repository, name)
    wanted = contents(repository, version.commit)
    gone = lost(repository, version.commit, wanted)
    remote = remote_folder(root)
    unsaved = None
    if remote is not None:
        gaps = (absent(remote, content, by_content=False) for content in wanted)
        unsaved = tuple(path for paths in gaps for path in paths)
    return Kept(version, len(wanted), tuple(gone), unsaved)


def shown(paths: Sequence[str], limit: int = 20) -> str:
    """Paths, one per line; the first `limit` of them."""
    rest = len(paths) - limit
    lines = [f"  {path}" for path in paths[:limit]]
    return "\n".join([*lines, *([f"  and {rest} more"] if rest > 0 else [])])


def rebuilt_in_words(result: Rebuilt) -> str:
    """What a rebuild says."""
    lines = [f"{result.version.name} was rebuilt in {result.folder}: {len(result.same)} outputs"]
    lines[0] += " have the same hash"
    if result.timed:
        lines[0] += f", {len(result.timed)} with run times were not compared"
    if result.different:
        lines.append(f"{len(result.different)} differ:")
        lines.append(shown([f"{path} (stage {s})" for path, s in result.different.items()]))
        published = "has" if ALIGNED.as_posix() in result.same else "does not have"
        lines.append(f"The checkpoint {published} the same hash.")
    if result.packages:
        lines.append("The environment is not the one of the version:")
        lines.append(shown(result.packages))
    return "\n".join(lines)


def kept_in_words(result: Kept) -> str:
    """What a check says."""
    name = result.version.name
    lines = [f"{name} names {result.named} files and folders outside of git."]
    if result.lost:
        lines.append(f"{len(result.lost)} files are neither in the cache nor in the remote:")
        lines.append(shown(result.lost))
    else:
        lines.append("All are in the cache, with the right content.")
    if result.unsaved:
        lines.append(f"{len(result.unsaved)} files are not in the remote:")
        lines.append(shown(result.unsaved))
    return "\n".join(lines)
