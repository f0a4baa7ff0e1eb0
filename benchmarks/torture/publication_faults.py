"""A whole accepted release under faults: what is published is untouched, or complete.

The project is that of `tests/flows/fake_project.py`: two stages, whose verdict depends on the data.
Its second release is disturbed, at a moment that is drawn over the whole run in even tries, and
over the time after the verdict in odd ones. The next run has to publish what an undisturbed run
publishes.
"""

import contextlib
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.torture.disk_faults import mount
from benchmarks.torture.fault_tries import Fault, clear_error, require
from benchmarks.torture.process_kills import of
from concord.release.repository import Repository, champion
from concord.release.store import absent, contents
from tests.chain.forks import Forks
from tests.chain.tree import environment
from tests.flows import fake_project

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
from pathlib import Path
from types import SimpleNamespace
from concord.release import store
from concord.stage.errors import ConcordError
from flows.retraining import Request, retrain
store.sys = SimpleNamespace(executable=sys.argv[1])
align = (sys.argv[1], "-m", "dvc", "--wait-for-lock", "repro")
try:
    print(retrain(Path.cwd(), Request(align=align), print).outcome)
except ConcordError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""
"""A run as `python -m flows.retrain` does it, without a Prefect server and its tasks. DVC runs in
the Python that the argument names."""
OUR_CODE = re.compile(r'File ".*/(concord|flows)/')
"""A line of a traceback. The two toy stages do not explain their errors, as those of Concord do."""
FILES = ("dvc.lock", "data/raw/pairs.dvc", "models/champion/results.json")
"""Files that every release of the same data has in common."""


class Releases:
    """A project with its first release and new data, and what its second release has to be."""

    def __init__(self, base: Path, forks: Forks) -> None:
        self.forks, self.base = forks, base / "release"
        self.origin = self.base / "origin/project"
        if not (self.base / "complete").is_file():
            shutil.rmtree(self.base, ignore_errors=True)
            fake_project.make(self.origin)
            self.finish(self.origin)
            fake_project.arrives(self.origin, "second.jsonl", fake_project.pairs(5))
            undisturbed = self.copy(self.base / "undisturbed")
            began, used = time.monotonic(), size(undisturbed.parent)
            self.finish(undisturbed)
            figures = f"{time.monotonic() - began} {size(undisturbed.parent) - used}"
            (self.base / "complete").write_text(figures)
        seconds, size_added = (self.base / "complete").read_text().split()
        self.seconds, self.bytes = float(seconds), int(size_added)
        undisturbed = self.base / "undisturbed/project"
        self.before, self.after = references(self.origin), references(undisturbed)
        self.files = files(undisturbed)

    def copy(self, target: Path) -> Path:
        """A copy of the project and its watched folder, without the workspace of the first run."""
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.origin.parent, target, symlinks=True)
        shutil.rmtree(target / "project/runs/retrain")
        return target / "project"

    def begin(self, project: Path) -> subprocess.Popen[str]:
        """Starts a run."""
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(self.forks.python)],
            cwd=project,
            env=environment(str(self.forks.python), PYTHONPATH=str(ROOT)),
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def finish(self, project: Path) -> str:
        """Runs until the end; returns the outcome. Raises UnsurvivedError if it fails."""
        process = self.begin(project)
        output, _ = process.communicate(timeout=600)
        require(process.returncode == 0, f"the next run: {output[-300:]}")
        return output.strip().splitlines()[-1]

    def wait(self, project: Path, number: int, draw: random.Random) -> None:
        """Waits until the moment of the fault."""
        if number % 2 == 0:
            time.sleep(draw.random() * self.seconds)
            return
        verdict, deadline = project / "runs/retrain/reports/gate.json", time.monotonic() + 300
        old = verdict.stat().st_mtime_ns if verdict.is_file() else None
        while not verdict.is_file() or verdict.stat().st_mtime_ns == old:
            require(time.monotonic() < deadline, "no verdict after 300 s")
            time.sleep(0.01)
        time.sleep(draw.random() * self.seconds / 2)

    def look(self, project: Path) -> str:
        """What is published after a fault, in words. Raises UnsurvivedError for half a release."""
        now = references(project)
        if now == self.before:
            return "nothing published"
        if {**now, "refs/heads/released": ""} == {**self.before, "refs/heads/released": ""}:
            return "a commit on the branch, the champion untouched"
        self.require_complete(project)
        return "completely published"

    def require_complete(self, project: Path) -> None:
        """Raises UnsurvivedError unless the second release is the champion and is complete."""
        require(references(project).keys() == self.after.keys(), "other tags")
        repository = Repository(project)
        version, tip = champion(repository.versions()), repository.tip()
        require(version and tip and version.commit == tip, "the champion is not the branch")
        assert tip
        require(version and version.name == "v1.0.1", "another version")
        require(files(project) == self.files, "another record")
        store = project / ".store"
        lost = [path for one in contents(repository, tip) for path in absent(store, one, True)]
        require(not lost, f"the remote lacks {lost}")


def references(project: Path) -> dict[str, str]:
    """The branch of releases and the tags, with what they name."""
    listed = Repository(project).git(
        "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads/released", "refs/tags"
    )
    return dict(line.split() for line in listed.splitlines())


def files(project: Path) -> list[str]:
    """The files of the release that have to be those of an undisturbed run."""
    return [Repository(project).git("show", f"released:{name}") for name in FILES]


def size(folder: Path) -> int:
    """The bytes that the files of a folder take on a tmpfs, where folders take none."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def faults(base: Path, tries: int, forks: Forks) -> list[Fault]:
    """The faults of this module."""
    releases = Releases(base, forks)
    kinds: dict[str, Callable[[Releases, int, random.Random], str]] = {
        "a retraining run killed": kill,
        "a retraining run on a full disk": full_disk,
        "a retraining run whose remote goes away": lost_remote,
    }
    return [
        Fault(name, tries, lambda number, draw, one=one: one(releases, number, draw))
        for name, one in kinds.items()
    ]


def _recovers(releases: Releases, project: Path, first: str) -> str:
    """The words for a try whose next run published what an undisturbed run publishes."""
    outcome = releases.finish(project)
    releases.require_complete(project)
    said = fake_project.history(project)
    require(said.count("accepted") == 2, f"the history is {said}")
    return f"{first}; the next run: {outcome}"


def kill(releases: Releases, number: int, draw: random.Random) -> str:
    """SIGKILL of all processes of the run, or of the first one alone, whose children then end."""
    project, alone = releases.copy(releases.base / "copy"), draw.random() < 0.5
    process = releases.begin(project)
    releases.wait(project, number, draw)
    running = process.poll() is None
    for one in [] if alone else of(project):
        with contextlib.suppress(Exception):
            one.kill()
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 20
    while left := of(project):
        require(time.monotonic() < deadline, f"left: {left}")
        time.sleep(0.05)
    seen = releases.look(project)
    return _recovers(releases, project, seen if running else f"after the end, {seen}")


def full_disk(releases: Releases, number: int, draw: random.Random) -> str:
    """A run on a disk with too little space, then with enough."""
    del number
    disk = releases.base / "disk"
    disk.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", "size=1g", "tmpfs", str(disk))
    try:
        project = releases.copy(disk / "copy")
        room = draw.randrange(4096, releases.bytes)
        mount("-o", f"remount,size={shutil.disk_usage(disk).used + room}", str(disk))
        process = releases.begin(project)
        output, _ = process.communicate(timeout=600)
        mount("-o", "remount,size=1g", str(disk))
        seen = releases.look(project)
        if process.returncode:
            require(not OUR_CODE.search(output), f"traceback: {output[-300:]}")
            require("space" in output or "is full" in output, f"says not why: {output[-300:]}")
            seen = f"clear error, {seen}"
        return _recovers(releases, project, seen)
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def lost_remote(releases: Releases, number: int, draw: random.Random) -> str:
    """Takes DVC's remote away during a run, and gives it back."""
    project = releases.copy(releases.base / "copy")
    store, away = project / ".store", project / ".store-away"
    process = releases.begin(project)
    releases.wait(project, number, draw)
    os.rename(store, away)
    store.write_text("a mount point that is gone")
    output, _ = process.communicate(timeout=600)
    store.unlink()
    os.rename(away, store)
    seen = releases.look(project)
    if process.returncode:
        clear_error(process.returncode, output)
        seen = f"clear error, {seen}"
    return _recovers(releases, project, seen)
