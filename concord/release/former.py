"""Puts a former champion back: an assignment and a commit, no training.

The branch `released` keeps the record of the last run. Only the folder of the champion becomes that
of the former version, so that the next gate compares with it. The commit and the tag of the stage
are pushed in one step; `concord.release.finish` completes what a kill left.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from concord.release.publishing import complete, named_by
from concord.release.release_tree import champion_entries, champion_folder
from concord.release.repository import (
    ARTIFACT,
    BRANCH,
    ReleaseError,
    Repository,
    Version,
    champion,
)
from concord.release.store import contents, lost
from concord.stage.paths import ALIGNED


def roll_back(root: Path, name: str = "") -> Version:
    """Makes a former champion the champion again; returns it.

    Args:
        root: the project, which holds the branch `released`.
        name: a version, such as `v1.2.0`; empty for the champion before the current one.

    Raises:
        ReleaseError: there is no such version, it was never champion, it is the champion already,
            or its checkpoint is neither in the cache nor in the remote.
    """
    repository = Repository(root)
    require_project(repository)
    versions = repository.versions()
    version = _chosen(repository, versions, name)
    checkpoint = [c for c in contents(repository, version.commit) if c.path == str(ALIGNED)]
    if gone := lost(repository, version.commit, checkpoint):
        raise ReleaseError(
            f"The checkpoint of {version.name} cannot be put back: {', '.join(gone[:3])} "
            f"({len(gone)} in all) are neither in the cache nor in the remote. "
            f"`concord reproduce {version.name}` trains it again."
        )
    return complete(repository, _commit(repository, version))


def _chosen(repository: Repository, versions: Mapping[str, Version], name: str) -> Version:
    leader = champion(versions)
    if leader is None:
        raise ReleaseError("No version was published yet, so there is nothing to roll back to.")
    if not name:
        return _former(versions, leader)
    version = known(versions, name)
    if not version.stages:
        raise ReleaseError(
            f"{name} was never champion: its publication did not finish, so nothing was served "
            "from it. Choose a version that was."
        )
    tip = repository.tip()
    if version == leader and tip and named_by(repository, tip) == name:
        raise ReleaseError(f"{name} is the champion already, so there is nothing to do.")
    return version


def _former(versions: Mapping[str, Version], leader: Version) -> Version:
    """The champion before the current one.

    A rollback removes what came after its version: after v1, v2, v3 and a rollback to v2, v1 is the
    one before.
    """
    assignments = {number: v for v in versions.values() for number in v.stages}
    line: list[Version] = []
    for number in sorted(assignments):
        version = assignments[number]
        line = line[: line.index(version)] if version in line else line
        line.append(version)
    if len(line) < 2:
        raise ReleaseError(
            f"{leader.name} has no former version to roll back to. "
            "To choose another version, name it: `concord rollback VERSION`."
        )
    return line[-2]


def known(versions: Mapping[str, Version], name: str) -> Version:
    """The version with a name. Raises ReleaseError if there is none."""
    if name not in versions:
        raise ReleaseError(
            f"There is no version {name}; versions: {', '.join(versions) or 'none yet'}."
        )
    return versions[name]


def require_project(repository: Repository) -> None:
    """Raises ReleaseError if the folder is a clone under `runs/` of the project."""
    folder = repository.folder.resolve()
    if folder.parent.name == "runs" and (folder.parent.parent / "dvc.yaml").is_file():
        raise ReleaseError(
            f"{folder} is a clone for runs. Change to {folder.parent.parent}, which has the "
            f"branch {BRANCH}."
        )


def _commit(repository: Repository, version: Version) -> str:
    """The commit on the branch that restores the folder of the champion."""
    tip = repository.tip()
    if tip is None:
        raise ReleaseError(
            f"{repository.folder} has the tags of versions, but not the branch {BRANCH}. "
            f"Get it with `git fetch origin {BRANCH}:{BRANCH}`."
        )
    with tempfile.TemporaryDirectory() as folder:
        env = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        repository.git("read-tree", tip, env=env)
        source, target = ((c, champion_folder(repository, c)) for c in (version.commit, tip))
        entries = champion_entries(repository, source, target)
        repository.update_index(entries, env)
        tree = repository.git("write-tree", env=env)
    message = f"Roll back to {ARTIFACT}@{version.name}\n\nChampion: {version.name}\n"
    return repository.commit(tree, tip, message)


def how_to_get(version: Version) -> str:
    """The command that writes the checkpoint of a version to a folder."""
    folder = f"{ARTIFACT}-{version.name}"
    return f"dvc get . {ALIGNED} --rev {ARTIFACT}@{version.name} --out {folder}"
