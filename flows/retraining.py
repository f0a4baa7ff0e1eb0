"""One scheduled run: looks for new inputs, trains on them in the workspace, publishes or refuses.

Nothing here imports Prefect or model code, so that a run without new inputs ends within seconds.
Stages run in processes of the workspace's own code. Every step can be repeated: a run that was
killed is taken up by the next one, or has no effect.
"""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from concord import release
from concord.release.repository import Repository
from concord.stage.errors import DiskError
from flows import inputs, workspace, workspace_stages
from flows.inputs import Input
from flows.look import Look, look_for_new, new_imports
from flows.retrain_state import Outcome, State, add_to_history, lock
from flows.workspace_stages import Say

ALIGN = (sys.executable, "-m", "flows.align")
MOST_CHARACTERS = 500
"""Length of the reason of a failure in the history."""
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
BUSY = "another retraining run is active; what is new is left to the run after it"


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
        return bool(run.state.current or request.force or look_for_new(run.state).new)


def retrain(root: Path, request: Request, say: Say) -> Outcome:
    """Runs all steps for the project at `root`; returns the outcome, which is in the history too.

    If another run is active, the outcome is `skipped`. Raises ConcordError if a step failed; the
    history then has the outcome `failed`, unless the disk is full. The next run takes it up.
    """
    try:
        return _alone(root, request, say)
    except OSError as error:
        if error.errno not in DISK:
            raise
        raise DiskError(
            f"{error}. Free some space, or make it writable for this user, and run again: the next "
            "run takes up what this one left."
        ) from error


def _alone(root: Path, request: Request, say: Say) -> Outcome:
    """As `retrain`, apart from errors of the disk."""
    began = time.time()
    with lock(root) as held:
        if held is None:
            skipped = Outcome("skipped", BUSY)
            add_to_history(root, skipped, began)
            return skipped
        try:
            outcome = _retrain(Run(root, State.load(root), request, say, held), began)
        except BaseException as error:
            if isinstance(error, Exception):
                add_to_history(root, Outcome("failed", _in_one_line(error)), began)
            raise
        add_to_history(root, outcome, began)
        return outcome


def _retrain(run: Run, began: float) -> Outcome:
    root, state = run.root, run.state
    if run.request.retry_refused:
        kept = {key: entry for key, entry in state.tried.items() if entry["outcome"] != "refused"}
        state.tried = kept
    _settle_killed_publication(run, began)
    look = look_for_new(state)
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
        new_imports(state, commit)
    state.current = {
        **{"head": look.origin.head, "released": look.origin.released, "commit": commit},
        **{"inputs": [one.key for one in look.new], "what": described},
    }
    state.save()
    return _train(run, look)


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
    workspace_stages.align(folder, run.request.align, run.held, run.say)
    released = look.origin.released
    if released and not run.request.force and workspace.is_champion(folder, released):
        reason = "what is new does not change the model: the candidate is the champion"
        run.state.remember(new, "idle", reason)
        return _end(run, Outcome("idle", reason, described))
    gate = workspace_stages.verdict(folder)
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


def _message(new: Sequence[Input]) -> str:
    first = f"Retrain: {len(new)} new inputs" if new else "Retrain, although nothing was new"
    return "\n".join([first, "", *(f"- {one}" for one in new)])


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:MOST_CHARACTERS]
