"""One scheduled run: looks for new inputs, trains on them in the workspace, publishes or refuses.

Nothing here imports Prefect or model code, so that a run without new inputs ends within seconds.
Stages run in processes of the workspace's own code. Every step can be repeated: a run that was
killed is taken up by the next one, or has no effect.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from concord import release
from concord.annotations.watched import RetrainParams
from concord.release.repository import Repository
from concord.stage.errors import ConcordError
from concord.stage.params import read, section
from concord.stage.paths import REPORTS
from concord.stage.stage_graph import GRAPH, graph_of, is_short
from flows import guard, inputs, workspace
from flows.graph import environment
from flows.inputs import Hashes, Input
from flows.retrain_state import Outcome, State, add_to_history, lock
from flows.workspace import Origin

ALIGN = (sys.executable, "-m", "flows.align")
BUSY = "another retraining run is active, so this one has ended"
LAST_LINES = 15
Say = Callable[[str], None]


class RetrainError(ConcordError):
    """The stages of a run failed."""


@dataclass(frozen=True)
class Request:
    """What a run is to do."""

    force: bool = False
    """Whether to run all steps although nothing is new."""
    retry_refused: bool = False
    """Whether inputs that were refused count as new."""
    align: Sequence[str] = ALIGN
    """The command that brings all stages of the workspace up to date."""


@dataclass
class Run:
    """A run that holds the lock."""

    root: Path
    state: State
    request: Request
    say: Say
    held: int
    """The descriptor of the lock."""


def is_new(root: Path, request: Request) -> bool:
    """Whether `retrain` has anything to do; also if another run is active, for which it waits."""
    with lock(root, wait=0) as held:
        if held is None:
            return True
        run = Run(root, State.load(root), request, print, held)
        return bool(run.state.current or request.force or _look(run).new)


def retrain(root: Path, request: Request, say: Say) -> Outcome:
    """Runs all steps for the project at `root`; returns the outcome, which is in the history too.

    Raises ConcordError if a step failed; the history then has the outcome `failed`. The next run
    takes it up.
    """
    began = time.time()
    with lock(root) as held:
        if held is None:
            return Outcome("idle", BUSY)
        try:
            outcome = _retrain(Run(root, State.load(root), request, say, held), began)
        except BaseException as error:
            if isinstance(error, Exception):
                add_to_history(root, Outcome("failed", _first_line(error)), began)
            raise
        add_to_history(root, outcome, began)
        return outcome


def _retrain(run: Run, began: float) -> Outcome:
    root, state = run.root, run.state
    if run.request.retry_refused:
        kept = {key: entry for key, entry in state.tried.items() if entry["outcome"] != "refused"}
        state.tried = kept
    _settle_killed_publication(run, began)
    look = _look(run)
    if not look.new and not run.request.force:
        state.current = None
        state.save()
        return Outcome("idle", "nothing is new")
    described = tuple(map(str, look.new))
    for text in described:
        run.say(f"new: {text}")
    commit = look.commit
    if commit is None:
        commit = workspace.reset(root, look.origin)
        _new_imports(run, commit)
    state.current = {
        **{"head": look.origin.head, "released": look.origin.released, "commit": commit},
        **{"inputs": [one.key for one in look.new], "what": described},
    }
    state.save()
    return _train(run, look)


@dataclass(frozen=True)
class Look:
    """What a run found."""

    origin: Origin
    params: dict[str, Any]
    """params.yaml of the project's commit."""
    commit: str | None
    """The commit that is in the workspace; None if the workspace has to be reset."""
    new: list[Input]


def _look(run: Run) -> Look:
    """Looks for new inputs. The workspace is needed only if there are imports."""
    origin = workspace.origin_of(run.root)
    params = _params(run.root, origin)
    commit = _resumable(run, origin)
    if commit is None and _imports(run.root, origin):
        commit = workspace.reset(run.root, origin)
    new = _new(run, origin, params)
    if commit is not None:
        new += _new_imports(run, commit)
    if run.state.current and not {*run.state.current["inputs"]} <= {one.key for one in new}:
        run.state.current, commit = None, None
    return Look(origin, params, commit, new)


def _train(run: Run, look: Look) -> Outcome:
    """Validates and adds the inputs, runs the stages, and obeys the gate."""
    folder, new, described = run.root / workspace.FOLDER, look.new, tuple(map(str, look.new))
    files = [one for one in new if one.kind == "file"]
    if wrong := inputs.problems(folder, files):
        reason = "; ".join(f"{one.path}: {why}" for one, why in wrong.items())
        run.state.remember(wrong, "refused", reason)
        return _end(run, Outcome("refused", f"new files cannot be used: {reason}", described))
    paths = {name: source["path"] for name, source in look.params["sources"].items()}
    inputs.add_files(folder, files, paths)
    _complete_params(folder)
    _align(run, folder)
    released = look.origin.released
    if released and not run.request.force and workspace.is_champion(folder, released):
        reason = "what is new does not change the model: the candidate is the champion"
        run.state.remember(new, "idle", reason)
        return _end(run, Outcome("idle", reason, described))
    gate = _verdict(folder)
    if not gate["accepted"]:
        run.state.remember(new, "refused", gate["verdict"])
        return _end(run, Outcome("refused", gate["verdict"], described))
    version = release.publish(folder, _message(new))
    run.state.remember(new, "accepted", gate["verdict"])
    return _end(run, Outcome("accepted", gate["verdict"], described, version.name))


def _end(run: Run, outcome: Outcome) -> Outcome:
    run.state.current = None
    run.state.save()
    return outcome


def _settle_killed_publication(run: Run, began: float) -> None:
    """If the unfinished run was killed after it published, completes its tags and its record."""
    current = run.state.current
    tip = workspace.origin_of(run.root).released
    if current is None or tip is None or tip == current["released"]:
        return
    parents = Repository(run.root).git("show", "--no-patch", "--format=%P", tip).split()
    if current["commit"] not in parents:
        return
    version = release.finish(workspace.create(run.root).folder)
    reason = "published by a run that was killed before it could say so"
    for key, what in zip(current["inputs"], current["what"], strict=True):
        run.state.tried[key] = {"outcome": "accepted", "reason": reason, "what": what}
    name = version.name if version else None
    outcome = _end(run, Outcome("accepted", reason, tuple(current["what"]), name))
    add_to_history(run.root, outcome, began)
    run.say(f"{name} was {reason}")


def _params(root: Path, origin: Origin) -> dict[str, Any]:
    """params.yaml of the project's commit."""
    text = Repository(root).git("show", f"{origin.head}:params.yaml")
    return dict(YAML(typ="safe", pure=True).load(text))


def _new(run: Run, origin: Origin, params: dict[str, Any]) -> list[Input]:
    """The files and the commit that were not tried before."""
    settings = section(RetrainParams, params.get("retrain") or {}, "retrain")
    hashes = Hashes(run.state.files)
    candidates = {one.key: one for one in inputs.watched_files(run.root, settings, hashes)}
    run.state.files = hashes.used
    project = Input("project", "HEAD", origin.head)
    repository = Repository(run.root)
    if not origin.released or not repository.contains(origin.released, origin.head):
        candidates[project.key] = project
    return [one for key, one in candidates.items() if key not in run.state.tried]


def _imports(root: Path, origin: Origin) -> bool:
    repository = Repository(root)
    commits = [origin.head, *([origin.released] if origin.released else [])]
    return any(inputs.imports(repository, commit) for commit in commits)


def _new_imports(run: Run, commit: str) -> list[Input]:
    """Updates the imports of the workspace; takes versions that were tried before back."""
    repository = Repository(run.root / workspace.FOLDER)
    updated = list(inputs.updated_imports(repository, commit))
    tried = [one.name for one in updated if one.key in run.state.tried]
    if tried:
        inputs.restore_imports(repository, commit, tried)
    return [one for one in updated if one.name not in tried]


def _resumable(run: Run, origin: Origin) -> str | None:
    """The commit in the workspace, if the unfinished run started from the same origin."""
    current, folder = run.state.current, run.root / workspace.FOLDER
    if current is None or not (folder / ".git").exists():
        return None
    same = (current["head"], current["released"]) == (origin.head, origin.released)
    if not same or Repository(folder).git("rev-parse", "HEAD") != current["commit"]:
        run.state.current = None
        return None
    return str(current["commit"])


def _complete_params(folder: Path) -> None:
    """Completes a short params.yaml, and leaves out the stages that it does not need."""
    params = folder / "params.yaml"
    if not is_short(read(params), folder / GRAPH):
        return
    done = subprocess.run(
        [sys.executable, "-m", "flows.recipe", "params.yaml", "--explain"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RetrainError(done.stderr.strip())
    graph = graph_of((folder / GRAPH).read_text(encoding="utf-8"), _yaml(done.stdout))
    (folder / GRAPH).write_text(graph, encoding="utf-8")
    params.write_text(done.stdout, encoding="utf-8")


def _yaml(text: str) -> dict[str, Any]:
    return dict(YAML(typ="safe", pure=True).load(text))


def _align(run: Run, folder: Path) -> None:
    """Brings all stages of the workspace up to date. Its processes end with this one."""
    env = {name: value for name, value in environment().items() if not name.startswith("PREFECT__")}
    with subprocess.Popen(
        [sys.executable, str(Path(guard.__file__)), *run.request.align],
        cwd=folder,
        env=env | {"PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        pass_fds=[run.held],
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        last: list[str] = []
        try:
            for line in process.stdout:
                run.say(line.rstrip())
                last = [*last[1 - LAST_LINES :], line.rstrip()]
        finally:
            process.stdin.close()  # the guard then ends what still runs
    if process.returncode:
        text = "\n".join(f"    {line}" for line in last)
        raise RetrainError(
            f"the stages failed in {folder} (exit status {process.returncode}); the last lines:\n"
            f"{text}\nNothing was published; the next run resumes from here."
        )


def _verdict(folder: Path) -> dict[str, Any]:
    path = folder / REPORTS / "gate.json"
    if not path.is_file():
        raise RetrainError(f"The stages wrote no {path}, so nothing was published; run `gate`.")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _message(new: Sequence[Input]) -> str:
    first = f"Retrain: {len(new)} new inputs" if new else "Retrain, although nothing was new"
    return "\n".join([first, "", *(f"- {one}" for one in new)])


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(os.linesep)[0]}"
