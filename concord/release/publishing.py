"""Publishes the finished run of a workspace, in an order that survives a kill at any point.

1. `dvc push`: data and checkpoints are in the remote before anything refers to them.
2. The commit, the tag of the version and the tag of the stage are written as git objects, which
   nobody sees.
3. One atomic push sets the branch and both tags.

Killed before 3, nothing is published, and a second call starts from the beginning. After 3, a
second call finds its own commit and changes nothing. A remote that was killed within 3 may hold the
commit alone; a second call, or `finish`, adds the tags. Without the tag of the stage, the champion
stays as it was.

The branch decides between two publishers: the second push does not follow from the first, and is
refused as a whole.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

from concord.release.release_tree import POINTERS, RECORD, params_of, release_tree
from concord.release.repository import (
    ARTIFACT,
    BRANCH,
    STAGE,
    ReleaseError,
    Repository,
    Version,
    champion,
    parts,
    references,
)
from concord.release.store import absent, contents, dvc, remote_folder
from concord.stage.paths import REPORTS

RECIPE = ("params.yaml", "dvc.yaml", "concord", "tasks", "templates")
"""What a version is made with, apart from data."""
TRAILER = re.compile(r"^Champion: (v\d+\.\d+\.\d+)$", re.MULTILINE)
"""A line of the message of each commit on the branch: which version it makes champion."""


def publish(workspace: Path, message: str) -> Version:
    """Publishes the run in `workspace`, a clone whose `origin` is the project; returns the version.

    The workspace must start from the branch `released`, if there is one. Its files, index and HEAD
    are not changed. A second call for the same run changes nothing.

    Args:
        workspace: a folder with a finished run that the gate accepted.
        message: why; the start of the commit's message.

    Raises:
        ReleaseError: the gate refused the run, the run is not finished, files other than the record
            were changed, a remote cannot be reached, or another publisher was faster. Nothing is
            published then.
    """
    repository = Repository(workspace, "origin")
    try:
        commit = _prepared(repository, message)
    except ReleaseError as error:
        raise ReleaseError(f"{error} Nothing was published.") from None
    return complete(repository, commit)


def _prepared(repository: Repository, message: str) -> str:
    """Checks the run, pushes its data, and returns its commit, which nobody sees yet."""
    repository.fetch()
    _require_accepted(repository.folder)
    _require_committed_code(repository)
    _require_finished(repository.folder)
    tree = release_tree(repository)
    _push_data(repository, tree)
    return _release_commit(repository, tree, message)


def finish(workspace: Path) -> Version | None:
    """Adds the tags that a killed publication or rollback left out; returns the champion.

    Args:
        workspace: a clone whose `origin` is the project.
    """
    repository = Repository(workspace, "origin")
    repository.fetch()
    tip = repository.tip()
    if tip and named_by(repository, tip):
        return complete(repository, tip)
    return champion(repository.versions())


def _push_data(repository: Repository, tree: str) -> None:
    """Pushes what a tree names to the remote, and looks whether the remote has it."""
    folder = repository.folder
    dvc(folder, "push", "--quiet")
    remote = remote_folder(folder)
    if remote is None:
        return
    wanted = contents(repository, tree)
    gaps = [content for content in wanted if any(absent(remote, content, by_content=False))]
    if not gaps:
        return
    for content in gaps:  # DVC believes that a folder is complete if the remote has its listing
        content.inside(remote).unlink(missing_ok=True)
    dvc(folder, "push", "--quiet")
    missing = [path for content in gaps for path in absent(remote, content, by_content=False)]
    if missing:
        raise ReleaseError(
            f"The remote {remote} lacks {', '.join(missing[:3])} ({len(missing)} files in all) "
            "after `dvc push`."
        )


def named_by(repository: Repository, commit: str) -> str | None:
    """The version that a commit on the branch makes champion; None for other commits."""
    trailer = TRAILER.search(repository.git("show", "--no-patch", "--format=%B", commit))
    return trailer[1] if trailer else None


def _release_commit(repository: Repository, tree: str, message: str) -> str:
    """The commit of a tree: the tip of the branch if a killed call pushed it, or a new one."""
    tip = repository.tip()
    head = repository.git("rev-parse", "HEAD")
    if tip and _tree_of(repository, tip) == tree and named_by(repository, tip):
        return tip
    if tip and not repository.contains(head, tip):
        raise ReleaseError(
            f"The branch {BRANCH} is at {tip[:12]}, which this run does not start from: another "
            "publication or rollback was faster. Run again from its result."
        )
    trailers = f"Champion: {_next_name(repository, tree)}\nProject: {_project(repository, head)}\n"
    return repository.commit(tree, head, f"{message}\n\n{trailers}")


def _project(repository: Repository, head: str) -> str:
    """The newest commit of the project, apart from its releases, that the run contains."""
    repository.git("fetch", "--quiet", "--no-tags", repository.remote, "HEAD")
    return repository.git("merge-base", head, "FETCH_HEAD")


def complete(repository: Repository, commit: str) -> Version:
    """Pushes a commit of the branch and the tags that it lacks; returns the new champion."""
    name = named_by(repository, commit)
    assert name
    versions = repository.versions()
    leader, version = champion(versions), versions.get(name, Version(name, commit))
    tagged = []
    if name not in versions:
        tag = f"{ARTIFACT}@{name}"
        tagged.append((tag, repository.tag(tag, version.commit, f"Version {name}")))
    if leader is None or leader.name != name:
        number = leader.stages[-1] + 1 if leader else 1
        tag, says = f"{ARTIFACT}#{STAGE}#{number}", f"{name} is the {STAGE}"
        tagged.append((tag, repository.tag(tag, version.commit, says, len(tagged))))
        version = replace(version, stages=(*version.stages, number))
    if tagged or repository.tip() != commit:
        repository.push({f"refs/heads/{BRANCH}": commit, **references(tagged)})
    return version


def _next_name(repository: Repository, tree: str) -> str:
    """The name of the next version.

    The first number rises if the names of the objectives changed: weights of before do not fit. The
    second rises if the recipe or the code changed, the third if only data did.
    """
    last = next(reversed(repository.versions().values()), None)
    if last is None:
        return "v1.0.0"
    major, minor, patch = parts(last.name)
    if _objectives(repository, last.commit) != _objectives(repository, tree):
        return f"v{major + 1}.0.0"
    changed = repository.git("diff", "--name-only", last.commit, tree, "--", *RECIPE)
    return f"v{major}.{minor + 1}.0" if changed else f"v{major}.{minor}.{patch + 1}"


def _objectives(repository: Repository, tree: str) -> set[str]:
    return set(params_of(repository, tree).get("objectives", {}))


def _tree_of(repository: Repository, commit: str) -> str:
    return repository.git("rev-parse", f"{commit}^{{tree}}")


def _require_accepted(workspace: Path) -> None:
    verdict = workspace / REPORTS / "gate.json"
    if not verdict.is_file():
        raise ReleaseError(f"{verdict} does not exist: no candidate was judged. Run the pipeline.")
    gate = json.loads(verdict.read_text(encoding="utf-8"))
    if not gate["accepted"]:
        raise ReleaseError(f"The gate refused the candidate in {workspace} ({gate['verdict']}).")


def _require_committed_code(repository: Repository) -> None:
    """Raises ReleaseError if a tracked file that the release does not commit was changed."""
    excluded = (f":(exclude){path}" for path in RECORD)
    pointers = (f":(exclude,glob){pattern.removeprefix(':(glob)')}" for pattern in POINTERS)
    changed = repository.git("diff", "--name-only", "HEAD", "--", ".", *excluded, *pointers)
    if changed:
        raise ReleaseError(
            f"{', '.join(changed.splitlines())} in {repository.folder} differ from the commit that "
            "the run started from, so the release would not hold what made it. Commit the change "
            "in the project and run again."
        )


def _require_finished(workspace: Path) -> None:
    """Raises ReleaseError if dvc.lock is not the record of the files that are there."""
    stale = json.loads(dvc(workspace, "status", "--json") or "{}")
    if stale:
        raise ReleaseError(
            f"{', '.join(sorted(stale))} in {workspace} changed since the run, or did not finish. "
            "Run the pipeline again."
        )
