"""What is new since the last run: files, imports and commits that were not tried before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from concord.annotations.watched import RetrainParams
from concord.release.repository import Repository
from concord.stage.params import section
from flows import inputs, workspace
from flows.inputs import Hashes, Input
from flows.retrain_state import State
from flows.workspace import Origin


@dataclass(frozen=True)
class Look:
    """What a run found."""

    origin: Origin
    params: dict[str, Any]
    """params.yaml of the project's commit."""
    commit: str | None
    """The commit that is in the workspace; None if the workspace has to be reset."""
    new: list[Input]


def look_for_new(state: State) -> Look:
    """Looks for new inputs. The workspace is needed only if there are imports.

    To be called with the lock held. Raises ConcordError.
    """
    origin = workspace.origin_of(state.root)
    params = _params(state.root, origin)
    commit = _resumable(state, origin)
    if commit is None and _imports(state.root, origin):
        commit = workspace.reset(state.root, origin)
    new = _new(state, origin, params)
    if commit is not None:
        new += new_imports(state, commit)
    if state.current and not {*state.current["inputs"]} <= {one.key for one in new}:
        state.current, commit = None, None
    return Look(origin, params, commit, new)


def _params(root: Path, origin: Origin) -> dict[str, Any]:
    """params.yaml of the project's commit."""
    text = Repository(root).git("show", f"{origin.head}:params.yaml")
    return dict(YAML(typ="safe", pure=True).load(text))


def _new(state: State, origin: Origin, params: dict[str, Any]) -> list[Input]:
    """The files and the commit that were not tried before."""
    settings = section(RetrainParams, params.get("retrain") or {}, "retrain")
    hashes = Hashes(state.files)
    candidates = {one.key: one for one in inputs.watched_files(state.root, settings, hashes)}
    state.files = hashes.used
    project = Input("project", "HEAD", origin.head)
    repository = Repository(state.root)
    if not origin.released or not repository.contains(origin.released, origin.head):
        candidates[project.key] = project
    return [one for key, one in candidates.items() if key not in state.tried]


def _imports(root: Path, origin: Origin) -> bool:
    repository = Repository(root)
    commits = [origin.head, *([origin.released] if origin.released else [])]
    return any(inputs.imports(repository, commit) for commit in commits)


def new_imports(state: State, commit: str) -> list[Input]:
    """Updates the imports of the workspace; takes versions that were tried before back."""
    repository = Repository(state.root / workspace.FOLDER)
    updated = list(inputs.updated_imports(repository, commit))
    tried = [one.name for one in updated if one.key in state.tried]
    if tried:
        inputs.restore_imports(repository, commit, tried)
    return [one for one in updated if one.name not in tried]


def _resumable(state: State, origin: Origin) -> str | None:
    """The commit in the workspace, if the unfinished run started from the same origin."""
    current, folder = state.current, state.root / workspace.FOLDER
    if current is None or not (folder / ".git").exists():
        return None
    same = (current["head"], current["released"]) == (origin.head, origin.released)
    if not same or Repository(folder).git("rev-parse", "HEAD") != current["commit"]:
        state.current = None
        return None
    return str(current["commit"])
